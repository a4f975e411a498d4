//! The programs of one session, each counted by the name under which it was called. What died before anybody saw its
//! name, or its file, is counted with those that are known to be the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::alert::Program;
use crate::detect::member::Member;
use crate::event::Inode;
use crate::fingerprint::Kind;

/// Program names counted each for itself; further ones are `other`.
const NAMES: usize = 256;
/// The same in a sum of sessions, of which there may be many.
const SUMMED: usize = 64;
/// Programs that an alert lists.
const LISTED: usize = 32;

/// Name, family, kind.
type Called = (String, String, Kind);

/// By which names one file was called.
#[derive(Debug)]
enum Names {
    /// Nobody saw any: so many execs are counted by its own.
    Unknown(Called, u64),
    One(Called),
    Several,
}

/// Counts by program.
#[derive(Debug, Default)]
pub struct Programs {
    counts: BTreeMap<Called, u64>,
    /// Those of them whose file nobody saw.
    unseen: BTreeSet<Called>,
    names: HashMap<Inode, Names>,
    other: u64,
    families: BTreeSet<String>,
}

impl Programs {
    /// Counts so many execs of a member's program.
    pub fn add(&mut self, member: &Member, execs: u64) {
        let program = self.called(member, execs);
        if member.was_seen() {
            self.recognise(&program);
        }
        if self.count(&program, execs, NAMES) && !member.was_seen() {
            self.unseen.insert(program);
        }
    }

    /// Takes in what another session has counted, into a sum.
    pub fn merge(&mut self, others: &Self) {
        for (program, execs) in &others.counts {
            self.count(program, *execs, SUMMED);
        }
        self.other += others.other;
    }

    /// Whether there was room for it among those that are counted each for itself.
    fn count(&mut self, program: &Called, execs: u64, names: usize) -> bool {
        let has_room = self.counts.len() < names || self.counts.contains_key(program);
        if has_room {
            self.families.insert(program.1.clone());
            *self.counts.entry(program.clone()).or_default() += execs;
        } else {
            self.other += execs;
        }
        has_room
    }

    fn called(&mut self, member: &Member, execs: u64) -> Called {
        let verdict = &member.facts.verdict;
        let own = (member.name.clone(), verdict.family.clone(), verdict.kind);
        match member.file.map(|file| file.inode()) {
            None if member.was_seen() => own,
            None => self.counts.keys().find(|(name, _, kind)| *name == own.0 && *kind == own.2).cloned().unwrap_or(own),
            Some(file) if member.named_by_file => self.name_of(file, own, execs),
            Some(file) => {
                self.learn(file, &own);
                own
            }
        }
    }

    /// The one name under which this file was called, else its own.
    fn name_of(&mut self, file: Inode, own: Called, execs: u64) -> Called {
        let room = self.names.len() < NAMES;
        match self.names.get_mut(&file) {
            Some(Names::One(called)) => return called.clone(),
            Some(Names::Unknown(_, unnamed)) => *unnamed += execs,
            None if room => {
                self.names.insert(file, Names::Unknown(own.clone(), execs));
            }
            None | Some(Names::Several) => {}
        }
        own
    }

    fn learn(&mut self, file: Inode, called: &Called) {
        if self.names.len() >= NAMES && !self.names.contains_key(&file) {
            return;
        }
        let names = self.names.entry(file).or_insert_with(|| Names::One(called.clone()));
        match names {
            Names::One(known) if known != called => *names = Names::Several,
            Names::One(_) | Names::Several => {}
            Names::Unknown(own, unnamed) => {
                let (own, unnamed) = (own.clone(), *unnamed);
                *names = Names::One(called.clone());
                self.move_counts(&own, called, unnamed);
            }
        }
    }

    /// Now that a program's file was seen, those of its name whose file was not are of its family too.
    fn recognise(&mut self, seen: &Called) {
        let guessed = self.unseen.iter().find(|p| p.0 == seen.0 && p.2 == seen.2 && p.1 != seen.1).cloned();
        if let Some(guessed) = guessed {
            self.unseen.remove(&guessed);
            self.move_counts(&guessed, seen, u64::MAX);
        }
    }

    fn move_counts(&mut self, from: &Called, to: &Called, execs: u64) {
        let Some(counted) = self.counts.get_mut(from) else { return };
        let moved = execs.min(*counted);
        *counted -= moved;
        if *counted == 0 {
            self.counts.remove(from);
        }
        *self.counts.entry(to.clone()).or_default() += moved;
    }

    /// Families seen.
    pub fn families(&self) -> &BTreeSet<String> {
        &self.families
    }

    /// Most executed first; what is beyond the list's length is `other`.
    pub fn listed(&self) -> Vec<Program> {
        let program = |((name, family, kind), execs): (&Called, &u64)| Program {
            name: name.clone(),
            family: family.clone(),
            kind: Some(*kind),
            execs: *execs,
        };
        let mut programs: Vec<Program> = self.counts.iter().map(program).collect();
        programs.sort_by(|a, b| b.execs.cmp(&a.execs).then_with(|| a.name.cmp(&b.name)));
        let beyond = programs.split_off(programs.len().min(LISTED));
        let execs = self.other + beyond.iter().map(|p| p.execs).sum::<u64>();
        if execs > 0 {
            programs.push(Program { name: "other".into(), family: String::new(), kind: None, execs });
        }
        programs
    }
}
