# infra/types/src/limits.rs as tables for docs/operations.md: one a section, with each constant's value and its first sentence.
function flush_doc() { doc = "" }
/^\/\/ / { section = $0; sub(/^\/\/ /, "", section); sub(/\.$/, "", section); pending = 1; next }
/^\/\/\/ / { line = $0; sub(/^\/\/\/ /, "", line); doc = doc (doc == "" ? "" : " ") line; next }
/^pub const / {
    name = $3; sub(/:$/, "", name)
    value = $0; sub(/^[^=]*= /, "", value); sub(/;$/, "", value)
    sub(/ as (u64|i32)$/, "", value)
    while (match(value, /[0-9]_[0-9]/)) value = substr(value, 1, RSTART) "," substr(value, RSTART + 2)
    if (value ~ /^i16::MAX/) value = "32,767"
    if (value == "ENTRY_BYTES / 4 * 3") value = "12 MiB"
    if (value == "2 << 30") value = "2 GiB"
    if (value == "KIB" || value == "MIB") value = "1 * " value
    sub(/ \* KIB$/, " KiB", value); sub(/ \* MIB$/, " MiB", value)
    if (value ~ /^Duration::from_secs\(24 \* 3,600\)$/) value = "24 h"
    else if (value ~ /^Duration::from_secs\(15 \* 60\)$/) value = "15 min"
    else if (value ~ /^Duration::from_secs/) { gsub(/^Duration::from_secs\(|\)$/, "", value); value = value " s" }
    else if (value ~ /^Duration::from_millis/) { gsub(/^Duration::from_millis\(|\)$/, "", value); value = value " ms" }
    else if (value ~ /^Duration::from_micros/) { gsub(/^Duration::from_micros\(|\)$/, "", value); value = value " µs" }
    gsub(/\[`/, "`", doc); gsub(/`\]/, "`", doc)
    if (pending) { print "\n### " section "\n\n| name | bound | what it bounds |\n| --- | --- | --- |"; pending = 0 }
    print "| `" name "` | " value " | " doc " |"
    flush_doc(); next
}
{ if ($0 !~ /^const /) flush_doc() }
