#!/usr/bin/env bash
# Writes the figures of FILE (see ledger.rs) as a table between the marks of DOCUMENT, and prints it.
set -euo pipefail

table=$(awk -F '\t' '
    { name = $1 "\t" $2; if (!(name in known)) { known[name] = 1; order[++rows] = name } }
    $4 == "skipped" { cell[name, $3] = "skipped: " $5; next }
    { tried[name, $3] += $4; broken[name, $3] += $5; cell[name, $3] = "" }
    function shown(name, who) {
        if (cell[name, who] != "") return cell[name, who] " | "
        if (!((name, who) in tried)) return "– | "
        all[who] += tried[name, who]; wrong[who] += broken[name, who]
        return tried[name, who] " | " broken[name, who]
    }
    END {
        print "| fault | of | as root | broken | as an ordinary user | broken |"
        print "|---|---|---:|---:|---:|---:|"
        for (at = 1; at <= rows; at++) {
            split(order[at], of, "\t")
            print "| " of[1] " | " of[2] " | " shown(order[at], "root") " | " shown(order[at], "user") " |"
        }
        print "| **all** | | **" all["root"] + 0 "** | **" wrong["root"] + 0 "** | **" all["user"] + 0 "** | **" wrong["user"] + 0 "** |"
    }' <(sort -t "$(printf '\t')" -k1,2 "$1"))
echo "$table"
document=$(TABLE=$table awk '
    /^<!-- figures -->$/ { print; print ""; print ENVIRON["TABLE"]; print ""; inside = 1; next }
    /^<!-- end of figures -->$/ { inside = 0 }
    !inside' "$2")
echo "$document" > "$2"
