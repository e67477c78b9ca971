//! A mail server that speaks SMTP as far as it is needed, and that can hang and refuse.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
};

/// What the server does with who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    Takes,
    Refuses,
    Hangs,
}

pub struct MailServer {
    pub url: String,
    mood: Arc<AtomicU8>,
    /// Everything that came after each DATA.
    taken: Arc<Mutex<Vec<String>>>,
    asked: Arc<AtomicU8>,
}

impl MailServer {
    pub fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let server =
            MailServer { url, mood: Arc::new(AtomicU8::new(mood as u8)), taken: Arc::default(), asked: Arc::default() };
        let (mood, taken, asked) = (server.mood.clone(), server.taken.clone(), server.asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (mood, taken) = (mood.clone(), taken.clone());
                asked.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || serve(stream, mood.load(Ordering::SeqCst), &taken));
            }
        });
        server
    }

    pub fn turns(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    pub fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }

    /// How often somebody has connected.
    pub fn asked(&self) -> u8 {
        self.asked.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, mood: u8, taken: &Mutex<Vec<String>>) {
    if mood == Mood::Hangs as u8 {
        std::thread::sleep(std::time::Duration::from_secs(600));
    }
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut say = |text: &str| drop(stream.write_all(format!("{text}\r\n").as_bytes()));
    say("220 mail.example.org");
    while let Some(Ok(line)) = lines.next() {
        match line.get(..4).unwrap_or("") {
            "EHLO" | "HELO" => say("250 mail.example.org"),
            "MAIL" if mood == Mood::Refuses as u8 => say("451 come back later"),
            "DATA" => {
                say("354 go on");
                let mut whole = String::new();
                loop {
                    match lines.next() {
                        Some(Ok(line)) if line == "." => break,
                        Some(Ok(line)) => {
                            whole.push_str(&line);
                            whole.push('\n');
                        }
                        // Who dies in the middle of a letter has sent none.
                        Some(Err(_)) | None => return,
                    }
                }
                taken.lock().unwrap().push(whole);
                say("250 taken");
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 well"),
        }
    }
}
