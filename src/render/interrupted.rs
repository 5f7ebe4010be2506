//! What an interrupted command leaves, in words.

use crate::change::underway::Underway;
use crate::model::ids::RunId;

/// Returns the sentence for what was underway; `place` are the options that lead to the same state directory.
pub fn sentence(underway: Option<&Underway>, place: &str) -> String {
    let finish = format!("claw-sessions gc{place}");
    let Some(Underway { unfinished, changed }) = underway else {
        return format!("interrupted: nothing is lost; what was begun is finished by: {finish}");
    };
    let names: Vec<&str> = unfinished.iter().map(RunId::as_str).collect();
    match names.as_slice() {
        [] if *changed => "interrupted: no run is unfinished".to_owned(),
        [] => "interrupted: nothing was changed".to_owned(),
        [one] => format!("interrupted: run {one} is unfinished, nothing is lost; finish it with: {finish}"),
        many => {
            format!("interrupted: runs {} are unfinished, nothing is lost; finish them with: {finish}", many.join(", "))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_with_the_way_out() {
        let ids = ["20261123T160109Z-0001", "20261123T160110Z-0002"];
        let said = |count: usize, changed: bool| {
            let unfinished = ids[..count].iter().map(|id| RunId::parse(id).unwrap()).collect();
            sentence(Some(&Underway { unfinished, changed }), " --profile work")
        };
        assert_eq!(said(0, false), "interrupted: nothing was changed");
        assert_eq!(said(0, true), "interrupted: no run is unfinished");
        assert!(said(1, true).ends_with("nothing is lost; finish it with: claw-sessions gc --profile work"));
        assert!(said(2, true).contains(&ids.join(", ")));
    }
}
