//! Programs that run beside a test: they say something when they are ready, and end when they are dropped.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::Value;

use crate::release::Release;
use crate::world::text;
use support::Store;

/// A program that lives until it is dropped.
pub(crate) struct Running {
    child: Child,
    said: Receiver<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, said) = mpsc::channel();
        // Read all the time: a program whose output nobody takes would stop.
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, said }
    }

    /// The next line it prints; empty when it has ended.
    pub(crate) fn line(&mut self) -> String {
        self.said.recv().unwrap_or_default()
    }

    /// Reads until a line has this in it.
    #[track_caller]
    pub(crate) fn until(&mut self, part: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.said.recv() {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("{part:?} was never said: {seen:#?}")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and its end.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A model on loopback, and what it was asked.
pub(crate) struct Model {
    _running: Running,
    _world: Store,
    pub(crate) port: u16,
    requests: PathBuf,
}

impl Model {
    pub(crate) fn start(release: &Release) -> Self {
        let world = Store::empty();
        let requests = world.root().join("requests.jsonl");
        File::create(&requests).unwrap();
        let mut running = Running::start(release.program(&world, "model.mjs").arg(&requests));
        let port = running.line().parse().unwrap();
        Self { _running: running, _world: world, port, requests }
    }

    /// What was said in the last request, oldest first.
    #[track_caller]
    pub(crate) fn last_asked(&self) -> Vec<String> {
        let requests = fs::read_to_string(&self.requests).unwrap();
        let last: Value = serde_json::from_str(requests.lines().last().expect("the model was asked")).unwrap();
        last["texts"].as_array().unwrap().iter().map(text).collect()
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        fs::read_to_string(&self.requests).unwrap().lines().count()
    }
}
