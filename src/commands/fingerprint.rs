//! `ccwatch fingerprint`: what files are, and why.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde::Serialize;

use super::print;
use crate::cli::FingerprintOptions;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::event::Missing;
use crate::fingerprint::content::{self, Limit};
use crate::fingerprint::entry::{self, entry};
use crate::fingerprint::files::Files;
use crate::fingerprint::{Content, Database, Invocation, Request, Verdict, argfile};
use crate::host::DELETED;
use crate::host::bounded;
use crate::{escape, hex};

/// The family of what nothing is known of.
const UNKNOWN: &str = "unknown";

/// Judges each file and prints the verdicts; what cannot be read is named on stderr, and the others go on.
///
/// # Errors
/// The configuration or the database cannot be used, or stdout cannot be written to.
pub fn run(options: &FingerprintOptions) -> Result<ExitCode> {
    let loaded = Config::load(options.config.config.as_deref())?;
    let database = Files::read(&loaded.fingerprints())?.compile()?;
    if options.entry {
        print(entry::HEAD)?;
    }
    let (mut code, mut entered) = (ExitCode::SUCCESS, HashSet::new());
    for path in &options.files {
        match judge(path, options, loaded.config.limits.read_bytes, &database) {
            Ok(mut judged) if options.entry => {
                let is_new = judged.content.sha256.is_none_or(|hash| entered.insert(hash));
                // Two programs may differ in their data alone; a hash is that of one family.
                judged.content.code_hash.take_if(|hash| !entered.insert(*hash));
                print(&if is_new { judged.entry(path) } else { judged.remark("the same content as a file above") })?;
            }
            Ok(judged) if options.json => print(&judged.json()?)?,
            Ok(judged) => print(&judged.text())?,
            Err(error) => {
                log::error!("{error}");
                code = ExitCode::from(error.exit_code());
            }
        }
    }
    Ok(code)
}

struct Judged {
    path: String,
    verdict: Verdict,
    content: Content,
    /// Whether the arguments only ask; without any, and of what is no toolchain's, it is not known.
    query: Option<bool>,
}

fn judge(path: &Path, options: &FingerprintOptions, limit: u64, database: &Database) -> Result<Judged> {
    let (real, content) = read(path, limit, database)?;
    let own = real.as_os_str().as_bytes();
    let args: Vec<Vec<u8>> =
        std::iter::once(own.to_vec()).chain(options.args.iter().map(|a| a.as_bytes().to_vec())).collect();
    let args = (!options.args.is_empty()).then_some(args.as_slice());
    let call = Invocation { path: own, comm: b"", args };
    let expanded = args.filter(|_| database.is_java(&call, Some(&content))).map(|args| {
        let opened = |name: &[u8]| bounded::read(None, Path::new(OsStr::from_bytes(name)), argfile::MAX_BYTES).ok();
        argfile::expand(args, opened)
    });
    let call = Invocation { args: expanded.as_deref().or(args), ..call };
    let judgement = match database.loaded(&call, Some(&content)).and_then(<[_]>::first) {
        Some(program) => {
            let (_, program) = read(Path::new(OsStr::from_bytes(program)), limit, database)?;
            database.judge_loaded(&call, Some(&content), &program)
        }
        None => database.judge(&call, Some(&content)),
    };
    let query =
        (args.is_some() && judgement.verdict.kind.is_toolchain()).then_some(judgement.request == Request::Query);
    Ok(Judged { path: path.to_string_lossy().into_owned(), verdict: judgement.verdict, content, query })
}

/// A file's real path, and its content.
fn read(path: &Path, limit: u64, database: &Database) -> Result<(PathBuf, Content)> {
    // The kernel executes what the links lead to, and that is what a sensor sees; /proc/PID/exe leads to what no path may.
    let place = nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|e| Error::file("read", path, e))?;
    let link = format!("/proc/self/fd/{}", place.as_raw_fd());
    let real = nix::fcntl::readlink(link.as_str()).map_err(|e| Error::file("read", path, e))?.into_vec();
    let real = PathBuf::from(OsString::from_vec(real.strip_suffix(DELETED).unwrap_or(&real).to_vec()));
    let unreadable = |why: Missing| {
        let reason = match why {
            Missing::Denied => io::Error::from(io::ErrorKind::PermissionDenied),
            Missing::Malformed | Missing::Unreadable => {
                io::Error::other("is no regular file, or shrinks while it is read")
            }
            other => io::Error::other(other.as_str()),
        };
        Error::file("read", path, reason)
    };
    let (file, _) = bounded::open_place(place.as_fd()).map_err(unreadable)?;
    let content = content::read(&file, Limit { bytes: limit, time: None }, database).map_err(unreadable)?;
    Ok((real, content))
}

/// One line of `--json`; what is not known is absent.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    kind: &'a str,
    family: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    toolchain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    confidence: &'a str,
    evidence: Vec<&'a str>,
    masquerade: bool,
    packed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<String>,
}

impl Judged {
    fn sha256(&self) -> Option<String> {
        self.content.sha256.map(|hash| hex::lower(&hash))
    }

    fn code_hash(&self) -> Option<String> {
        self.content.code_hash.map(|hash| hex::lower(&hash))
    }

    fn build_id(&self) -> Option<String> {
        self.content.build_id.as_deref().map(hex::lower)
    }

    fn evidence(&self) -> Vec<&'static str> {
        self.verdict.evidence.iter().map(|evidence| evidence.as_str()).collect()
    }

    fn json(&self) -> Result<String> {
        let line = Line {
            path: &self.path,
            kind: self.verdict.kind.as_str(),
            family: &self.verdict.family,
            toolchain: self.verdict.toolchain.as_deref(),
            version: self.verdict.version.as_deref(),
            confidence: self.verdict.confidence.as_str(),
            evidence: self.evidence(),
            masquerade: self.verdict.masquerade,
            packed: self.verdict.packed,
            query: self.query,
            sha256: self.sha256(),
            code_hash: self.code_hash(),
            build_id: self.build_id(),
        };
        let text = serde_json::to_string(&line).map_err(|e| Error::os("render", self.path.clone(), e))?;
        Ok(text + "\n")
    }

    fn entry(&self, path: &Path) -> String {
        let none = "known to be good, told by what it runs, or without a hash as it is larger than limits.read-bytes";
        entry(path.as_os_str().as_bytes(), &self.content, &self.verdict).unwrap_or_else(|| self.remark(none))
    }

    fn remark(&self, text: &str) -> String {
        format!("\n# {}: {text}\n", escape::text(&self.path))
    }

    fn text(&self) -> String {
        let verdict = &self.verdict;
        let mut out = format!("{}: {}", escape::text(&self.path), verdict.kind.as_str());
        let mut say = |text: &str| out.push_str(text);
        if verdict.family != UNKNOWN || verdict.kind.is_toolchain() {
            say(&format!(" {}", verdict.family));
        }
        if let Some(version) = &verdict.version {
            say(&format!(" {}", escape::text(version)));
        }
        if verdict.kind.is_toolchain() {
            say(&format!(", confidence {}", verdict.confidence.as_str()));
        }
        for (is, word) in [(verdict.masquerade, ", under a false name"), (verdict.packed, ", packed")] {
            say(if is { word } else { "" });
        }
        if let Some(query) = self.query {
            out.push_str(if query { ", asked only" } else { ", called to work" });
        }
        out.push('\n');
        let lines = [
            ("toolchain", verdict.toolchain.clone()),
            ("evidence", Some(self.evidence().join(", ")).filter(|list| !list.is_empty())),
            ("sha256", self.sha256()),
            ("code hash", self.code_hash()),
            ("build-id", self.build_id()),
        ];
        for (name, value) in lines.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            // A String takes everything.
            let _ = writeln!(out, "  {name}: {value}");
        }
        out
    }
}
