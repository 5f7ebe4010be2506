//! What the messages on the path say of the last run.

use super::Judging;

/// The message that tells how the last run ended, while the path is followed from its end.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) last: Option<(Judging, u32)>,
    /// The last entry met that OpenClaw itself wrote.
    reply: Option<u32>,
    /// What was met first may be the words of a command line about an error.
    in_doubt: bool,
}

impl Judged {
    /// Takes the next message of the path; `child` is the entry that hangs on it.
    #[inline]
    pub(super) fn meet(&mut self, judging: Judging, current: u32, child: Option<u32>) {
        if judging == Judging::Reply {
            self.reply = Some(current);
            return;
        }
        // What OpenClaw answered itself.
        let command = judging == Judging::User && self.reply.is_some() && self.reply == child;
        let judging = if command { Judging::Reply } else { judging };
        if self.last.is_none() || (self.in_doubt && judging == Judging::Error) {
            self.last = Some((judging, current));
        }
        // Behind an error the words of a command line tell of it.
        self.in_doubt = judging == Judging::StopByCli && self.last == Some((judging, current));
    }
}
