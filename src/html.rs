//! HTML that people wrote, made harmless: what runs, loads or hides something goes, whatever it was written as.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use ammonia::Builder;
use pulldown_cmark::{Event, Options, Parser};

/// Where links and pictures may lead.
const SCHEMES: [&str; 3] = ["http", "https", "mailto"];

static MESSAGE: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::default();
    builder.url_schemes(SCHEMES.into()).link_rel(None);
    builder
});

/// Tags of mails (contract/content-admin.md 3.2).
const MAIL_TAGS: [&str; 36] = [
    "a",
    "b",
    "blockquote",
    "body",
    "br",
    "caption",
    "code",
    "del",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "hr",
    "html",
    "i",
    "img",
    "li",
    "meta",
    "ol",
    "p",
    "pre",
    "s",
    "span",
    "strong",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "u",
    "ul",
];
const MAIL_ATTRIBUTES: [(&str, &[&str]); 8] = [
    ("a", &["href", "rel", "target"]),
    ("html", &["lang"]),
    ("img", &["alt", "height", "src", "width"]),
    ("meta", &["charset", "content", "name"]),
    ("ol", &["start", "type"]),
    ("table", &["align", "bgcolor", "border", "cellpadding", "cellspacing", "height", "width"]),
    ("td", &["align", "bgcolor", "colspan", "height", "rowspan", "valign", "width"]),
    ("th", &["align", "bgcolor", "colspan", "height", "rowspan", "scope", "valign", "width"]),
];

static MAIL: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let attributes: HashMap<&str, HashSet<&str>> =
        MAIL_ATTRIBUTES.iter().map(|(tag, names)| (*tag, names.iter().copied().collect())).collect();
    let mut builder = Builder::empty();
    builder
        .tags(MAIL_TAGS.into())
        .tag_attributes(attributes)
        .generic_attributes(["style"].into())
        .url_schemes(SCHEMES.into())
        .link_rel(None);
    builder
});

/// Markdown as HTML. A line feed is a line; HTML within it stays as far as it is harmless.
pub fn message(markdown: &str) -> String {
    let parser = Parser::new_ext(markdown, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES);
    let lines = parser.map(|event| if event == Event::SoftBreak { Event::HardBreak } else { event });
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, lines);
    MESSAGE.clean(&html).to_string().trim_end().to_owned()
}

/// The body of a mail; text within what is taken away stays.
pub fn mail(html: &str) -> String {
    MAIL.clean(html).to_string()
}

/// Whether a link leads to a web page or an address, and runs nothing.
pub fn is_link(url: &str) -> bool {
    match url::Url::parse(url) {
        Ok(url) => SCHEMES.contains(&url.scheme()),
        Err(error) => error == url::ParseError::RelativeUrlWithoutBase,
    }
}
