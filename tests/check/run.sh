#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: tests/check/run.sh LINESHAFT
# Every NAME.yaml here is checked, and the output (both streams) and exit status must equal NAME.expect. A first line
# "# args: ..." replaces the arguments "check"; good-NAME.yaml is also drawn: good-NAME.text, .dot, .json, .mermaid.
# UPDATE=1 writes the expected files instead; read the difference before committing it.
set -u
[ $# -eq 1 ] || { echo "usage: $0 LINESHAFT" >&2; exit 2; }
lineshaft=$(realpath "$1") || exit 2
cd "$(dirname "$0")" || exit 2
unset LINESHAFT_TEST_UNSET LINESHAFT_PORT
export LC_ALL=C LINESHAFT_TEST_SECRET=swordfish PATH=/usr/local/bin:/usr/bin:/bin
out=$(mktemp) || exit 2
trap 'rm -f "$out"' EXIT
passed=0 failed=0

# compare EXPECTED COMMAND...
compare() {
    expected=$1
    shift
    "$@" >"$out" 2>&1 </dev/null
    echo "exit $?" >>"$out"
    [ -n "${UPDATE:-}" ] && cp "$out" "$expected"
    if cmp -s "$expected" "$out"; then
        passed=$((passed + 1))
        echo "ok $((passed + failed)) - $expected"
    else
        failed=$((failed + 1))
        echo "not ok $((passed + failed)) - $expected"
        diff -u "$expected" "$out" | sed 's/^/# /'
    fi
}

for file in *.yaml; do
    name=${file%.yaml}
    args=$(sed -n '1s/^# args: //p' "$file")
    # shellcheck disable=SC2086
    compare "$name.expect" "$lineshaft" ${args:-check} "$file"
    case $name in good-*)
        for format in text dot json mermaid; do
            compare "$name.$format" "$lineshaft" graph --format "$format" "$file"
        done
    esac
done

# A code that no built-in kind can show is proved by tests/unit/topology_kind_test.c. A code without a case would be a rule that nothing proves; one without an entry, a riddle.
for code in $(sed -n 's/^ *\[DIAG_[A-Z_]*\] = {"\([a-z-]*\)".*/\1/p' ../../yaml/diag.c); do
    if ! grep -q "\[$code\]" "bad-$code.expect" 2>/dev/null && ! grep -q "\"$code\"" ../unit/topology_kind_test.c; then
        failed=$((failed + 1))
        echo "not ok $((passed + failed)) - bad-$code.yaml does not show [$code]"
    elif ! grep -q "^### \`$code\`\$" ../../docs/errors.md; then
        failed=$((failed + 1))
        echo "not ok $((passed + failed)) - docs/errors.md does not explain $code"
    else
        passed=$((passed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
