//! What a process inherits, captured once as a plain value, and the rules that need nothing else: which directory is
//! home and what a path typed by a person means (`openclaw-format.md` §1.1).

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The inherited environment. Only `main` reads the process; everything else reads this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Environment variables; those that are not UTF-8 are left out.
    pub vars: BTreeMap<String, String>,
    /// The current directory, absolute.
    pub cwd: PathBuf,
    /// The effective user.
    pub uid: u32,
    /// The home directory of the user database, asked when no variable names one.
    pub os_home: Option<PathBuf>,
}

impl Environment {
    /// A variable, trimmed; empty counts as unset.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// OpenClaw's home: `OPENCLAW_HOME`, `HOME`, `USERPROFILE`, the user database, the current directory
    /// (`openclaw-format.md` §1.1).
    pub fn home_dir(&self) -> PathBuf {
        let home = match self.var("OPENCLAW_HOME") {
            Some(text) => match after_tilde(text) {
                // Only here `~` is the user's own home: OPENCLAW_HOME cannot be defined by itself.
                Some(rest) => self.user_home().map(|home| home.join(rest)),
                None => Some(PathBuf::from(text)),
            },
            None => self.user_home(),
        };
        self.absolute(&home.unwrap_or_default())
    }

    /// The user's home, whatever OpenClaw's is.
    pub fn user_home(&self) -> Option<PathBuf> {
        let named = self.var("HOME").or_else(|| self.var("USERPROFILE"));
        named.map(PathBuf::from).or_else(|| self.os_home.clone())
    }

    /// A base directory of the XDG specification: what the variable says, else this directory below the user's home.
    pub fn base_dir(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let named = self.var(variable).map(PathBuf::from).filter(|dir| dir.is_absolute());
        named.or_else(|| Some(self.user_home()?.join(below_home)))
    }

    /// A path as a person or a configuration writes it: a leading `~` is OpenClaw's home, relative is below the
    /// current directory (`openclaw-format.md` §1.3).
    pub fn resolve(&self, text: &str) -> PathBuf {
        let text = text.trim();
        match after_tilde(text) {
            Some(rest) => normalize(&self.home_dir().join(rest)),
            None => self.absolute(Path::new(text)),
        }
    }

    /// A path made absolute against the current directory, without `.` and `..`.
    pub fn absolute(&self, path: &Path) -> PathBuf {
        normalize(&self.cwd.join(path))
    }
}

/// What follows `~` or `~/`. `~name` is an ordinary file name to OpenClaw.
fn after_tilde(text: &str) -> Option<&str> {
    match text.strip_prefix('~')? {
        "" => Some(""),
        rest => rest.strip_prefix('/').map(|rest| rest.trim_start_matches('/')),
    }
}

/// Removes `.` and `..` by their names alone, as Node's `path.normalize` does: no symbolic link is looked at.
pub fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(vars: &[(&str, &str)]) -> Environment {
        let vars = vars.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Environment { vars, cwd: "/work".into(), uid: 1000, os_home: Some("/home/db".into()) }
    }

    #[track_caller]
    fn home(vars: &[(&str, &str)], expected: &str) {
        assert_eq!(environment(vars).home_dir(), Path::new(expected));
    }

    #[test]
    fn a_variable_is_trimmed_and_empty_is_unset() {
        let environment = environment(&[("A", "  x "), ("B", "   ")]);
        assert_eq!((environment.var("A"), environment.var("B"), environment.var("C")), (Some("x"), None, None));
    }

    #[test]
    fn home_is_the_first_of_five_places() {
        home(&[("OPENCLAW_HOME", "/oc"), ("HOME", "/h"), ("USERPROFILE", "/u")], "/oc");
        home(&[("HOME", "/h"), ("USERPROFILE", "/u")], "/h");
        home(&[("HOME", " "), ("USERPROFILE", "/u")], "/u");
        home(&[], "/home/db");
        let nothing = Environment { os_home: None, ..environment(&[]) };
        assert_eq!(nothing.home_dir(), Path::new("/work"));
    }

    #[test]
    fn a_tilde_in_openclaw_home_is_the_users_home() {
        home(&[("OPENCLAW_HOME", "~"), ("HOME", "/h")], "/h");
        home(&[("OPENCLAW_HOME", "~/oc"), ("HOME", "/h")], "/h/oc");
        home(&[("OPENCLAW_HOME", "~/oc")], "/home/db/oc");
        home(&[("OPENCLAW_HOME", "~bob"), ("HOME", "/h")], "/work/~bob");
    }

    #[test]
    fn a_relative_home_is_below_the_current_directory() {
        home(&[("OPENCLAW_HOME", "../oc")], "/oc");
    }

    #[test]
    fn a_path_is_made_absolute_and_a_tilde_is_openclaws_home() {
        let environment = environment(&[("OPENCLAW_HOME", "/oc"), ("HOME", "/h")]);
        for (text, expected) in [
            ("~", "/oc"),
            ("~/a", "/oc/a"),
            ("~//a", "/oc/a"),
            (" ~/a/../b ", "/oc/b"),
            ("~bob/a", "/work/~bob/a"),
            ("a/./b", "/work/a/b"),
            ("../../..", "/"),
            ("/x//y/", "/x/y"),
        ] {
            assert_eq!(environment.resolve(text), Path::new(expected), "{text}");
        }
    }
}
