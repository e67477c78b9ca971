//! `/auth…`: signing in, going on, signing out, and what a token must be.

mod lockout;
mod logout;
mod refresh;
mod sign_in;
mod tokens;
