//! How long a first look at a file takes, and a question that was answered before: `cargo bench --bench content [FILE...]`.
//! One thread; the files are in the page cache. Without FILE a driver of one megabyte and a compiler proper of 35, gcc's.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ccwatch::container::{ContainerKey, Payer, Runtime};
use ccwatch::detect::judged::{Finding, Judged};
use ccwatch::event::FileId;
use ccwatch::fingerprint::content::{self, Limit};
use ccwatch::fingerprint::{Content, ContentSays, Database};

const LOOKS: usize = 21;
const QUESTIONS: u32 = 1_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs it too, and says so by leaving this out.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let mut files: Vec<PathBuf> = arguments.iter().filter(|a| !a.starts_with("--")).map(PathBuf::from).collect();
    if files.is_empty() {
        files = ["gcc", "cc1plus"].map(program).to_vec();
    }
    let began = Instant::now();
    let database = Database::builtin().unwrap();
    println!("the database is compiled in {}", milliseconds(began.elapsed()));
    for path in files {
        let file = File::open(&path).unwrap();
        let mut times: Vec<Duration> = (0..LOOKS)
            .map(|_| {
                let began = Instant::now();
                black_box(content::read(&file, Limit { bytes: u64::MAX, time: None }, &database).unwrap());
                began.elapsed()
            })
            .collect();
        times.sort();
        let megabytes = file.metadata().unwrap().size() as f64 / f64::from(1 << 20);
        let [fastest, median, slowest] = [0, LOOKS / 2, LOOKS - 1].map(|at| milliseconds(times[at]));
        println!(
            "a first look at {} ({megabytes:.1} MiB): {fastest}, median {median}, slowest {slowest}",
            path.display()
        );
    }
    println!("a verdict that is remembered: {:.0} ns", remembered(&Arc::new(database)));
}

/// What gcc calls by a name; itself as well.
fn program(name: &str) -> PathBuf {
    let said = Command::new("gcc").arg(format!("-print-prog-name={name}")).output().unwrap().stdout;
    let found = PathBuf::from(String::from_utf8(said).unwrap().trim());
    let on_path =
        || std::env::split_paths(&std::env::var_os("PATH").unwrap()).map(|d| d.join(name)).find(|p| p.exists());
    std::fs::canonicalize(if found.is_absolute() { found } else { on_path().unwrap() }).unwrap()
}

/// Nanoseconds of what a sensor asks for each exec, with a full table.
fn remembered(database: &Arc<Database>) -> f64 {
    let judged = Judged::default();
    let file = |ino: u64| FileId { dev: 1, ino, size: 1 << 20, mtime_ns: 0, ctime_ns: 0 };
    for ino in 0..8000 {
        let container = ContainerKey { runtime: Runtime::Docker, id: (ino / 500).to_string().into() };
        let (content, says) = (Ok(Content::default()), ContentSays::Innocent);
        let (began, database) = (SystemTime::now(), Arc::clone(database));
        judged.learn(file(ino), Payer::new(&container, None), Finding { content, says, began, open: false, database });
    }
    let began = Instant::now();
    for question in 0..QUESTIONS {
        let ino = u64::from(question).wrapping_mul(2_654_435_761) % 8000;
        black_box((database.file_candidate(black_box(b"/usr/bin/nginx")), judged.says(file(ino))));
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(QUESTIONS)
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
