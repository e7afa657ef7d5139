#!/bin/sh
# The pages for people agree with the code: metrics, settings, APIs, limits, links. Run from anywhere; needs grep, sed, awk, sort, diff.
set -eu
cd "$(dirname "$0")/../.."
failed=0
fail() {
    echo "docs: $*" >&2
    failed=1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Code without its tests: sources under src/, without items that are compiled for tests alone, which end where a line begins with `}`.
sources() {
    find src ingest reader compactor infra -path '*/src/*' -name '*.rs' -o -path 'src/*' -name '*.rs' | sort -u |
        grep -v -e '/tests\.rs$' -e '_tests\.rs$' | while read -r file; do
        awk '/^#\[cfg\(test\)\]/ { attribute = 1; next }
            attribute && /^#\[/ { next }
            attribute { attribute = 0; inside = /\{$/; next }
            inside { inside = !/^}/; next }
            { print }' "$file"
    done
}

# 1. Metrics: name and type, both ways.
sources | tr '\n' ' ' | grep -oE '(counter|gauge|histogram)!\([[:space:]]*"strandline_[a-z_]+"' |
    sed -E 's/^(counter|gauge|histogram)!\([[:space:]]*"([a-z_]+)"$/\2 \1/' | sort -u >"$work/code"
grep -E '^\| `strandline_' docs/metrics.md | sed -E 's/^\| `([a-z_]+)` \| ([a-z]+) \|.*/\1 \2/' | sort -u >"$work/page"
diff "$work/code" "$work/page" >"$work/diff" || fail "metrics differ (< code, > docs/metrics.md):
$(cat "$work/diff")"

# 2. Settings: every key of the node, both ways.
sed -n '/^settings! {/,/^}/p' infra/config/src/settings.rs | sed -nE 's/^    ([a-z_]+): .*/\1/p' | sort -u >"$work/code"
grep -E '^\| `[a-z_]+` \|' docs/configuration.md | sed -E 's/^\| `([a-z_]+)` .*/\1/' | sort -u >"$work/page"
diff "$work/code" "$work/page" >"$work/diff" || fail "settings differ (< code, > docs/configuration.md):
$(cat "$work/diff")"

# 3. APIs and versions that are announced.
sed -n '/^    supported {/,/^    }/p' infra/wire/src/api.rs |
    sed -nE 's/^ +([A-Za-z]+) = ([0-9]+), ([0-9]+)\.\.=([0-9]+).*/\1 \2 \3-\4/p' | sort >"$work/code"
grep -E '^\| [A-Z][A-Za-z]+ \| [0-9]+ \| [0-9]+-[0-9]+ \|' docs/compatibility.md |
    sed -E 's/^\| ([A-Za-z]+) \| ([0-9]+) \| ([0-9]+-[0-9]+) \|.*/\1 \2 \3/' | sort >"$work/page"
diff "$work/code" "$work/page" >"$work/diff" || fail "APIs differ (< code, > docs/compatibility.md):
$(cat "$work/diff")"

# 4. Limits: the tables of docs/operations.md are made from the code; `check.sh --write` makes them anew.
awk -f tests/docs/limits.awk infra/types/src/limits.rs >"$work/code"
if [ "${1:-}" = --write ]; then
    awk -v tables="$work/code" '/^<!-- limits: begin/ { print; while ((getline line <tables) > 0) print line; print ""; skip = 1 }
        /^<!-- limits: end/ { skip = 0 } !skip || /^<!-- limits: end/ { if (!/^<!-- limits: begin/) print }' docs/operations.md >"$work/page"
    cp "$work/page" docs/operations.md
fi
sed -n '/^<!-- limits: begin/,/^<!-- limits: end/p' docs/operations.md | grep -v '^<!--' | sed '$d' >"$work/page" || true
diff "$work/code" "$work/page" >"$work/diff" || fail "limits differ (< code, > docs/operations.md; tests/docs/check.sh --write mends it):
$(cat "$work/diff")"

# 5. Errors of the fold: every refusal has its row.
sed -n '/impl KafkaError for Refusal/,/^}/p' infra/errors/src/lib.rs | grep -oE 'Refusal::[A-Za-z]+' | sed 's/Refusal:://' | sort -u >"$work/code"
grep -oE '`[A-Z][A-Za-z]+`' docs/errors.md | tr -d '`' | sort -u >"$work/page"
comm -23 "$work/code" "$work/page" >"$work/missing"
[ ! -s "$work/missing" ] || fail "docs/errors.md lacks the refusals: $(tr '\n' ' ' <"$work/missing")"

# 6. Links between the pages lead somewhere, anchors too.
pages="README.md ARCHITECTURE.md CHANGELOG.md $(find docs -name '*.md' | sort | tr '\n' ' ')"
for page in $pages; do
    [ -f "$page" ] || { fail "$page is missing"; continue; }
    grep -oE '\]\([^)[:space:]]+\)' "$page" | sed -E 's/^\]\((.*)\)$/\1/' | grep -vE '^[a-z]+:' | while read -r link; do
        file=${link%%#*}
        target=$page
        [ -z "$file" ] || target=$(dirname "$page")/$file
        if [ ! -e "$target" ]; then
            echo "$page: $link leads nowhere"
        elif [ "$link" != "$file" ]; then
            anchor=${link#*#}
            sed -nE 's/^#+ +//p' "$target" | tr '[:upper:]' '[:lower:]' | sed -E 's/[^a-z0-9 _-]//g; s/ /-/g' | grep -qxF -- "$anchor" ||
                echo "$page: $link names no heading"
        fi
    done
done >"$work/links"
[ ! -s "$work/links" ] || fail "$(cat "$work/links")"

# 7. Files of the tree that the pages name exist. A path is what looks like one, in backquotes.
for page in $pages; do
    [ -f "$page" ] || continue
    grep -oE '`(infra|ingest|reader|compactor|src|tests|docs|benches)/[A-Za-z0-9_./-]+`' "$page" | tr -d '`' | sort -u | while read -r path; do
        [ -e "$path" ] || echo "$page: there is no $path"
    done
done >"$work/paths"
[ ! -s "$work/paths" ] || fail "$(cat "$work/paths")"

# 8. Nothing of one machine, and no registry's host name.
# shellcheck disable=SC2086
if grep -nE '(^|[^A-Za-z0-9_.-])/(work|root)(/|[^A-Za-z0-9]|$)|crates[.]io|pypi[.]org|pythonhosted|npmjs|maven[.]org|maven[.]apache|proxy[.]golang|docker[.]io|ghcr[.]io' $pages; then
    fail "the lines above name a place of one machine, or a registry's host"
fi

[ "$failed" = 0 ] && echo "docs: all pages agree with the code"
exit "$failed"
