#!/bin/bash
# run.sh - make fuzz: install what is missing, build the fuzz targets, and run
# each for a while, starting from its seeds. Fails on a crash, a leak, undefined
# behaviour, a hang, too much memory, or a claim that does not hold.
#
#   test/fuzz/run.sh [TARGET]...      these targets, by default all
#   test/fuzz/run.sh TARGET FILE...   run these inputs once each, as what was
#                                     found; with what the sanitizers say
#
#   FUZZ_SECONDS=60     seconds in all, over all targets
#   FUZZ_KEEP=FOLDER    keep what was found there, and start from it next time
#
# Inputs that fail are kept in tmp_check/fuzz. To keep one as a seed, add it to
# test/fuzz/seeds/TARGET.txt; what it looks like there is printed. Everything
# else is in a temporary folder; see test/lib/setup.sh for more settings.

set -u
cd "$(dirname "$0")/../.." || exit 1
. test/lib/setup.sh

wo_need_postgres
wo_need_packages clang libclang-rt-dev llvm
wo_make_work
keep=${FUZZ_KEEP:-}
[ -z "$keep" ] || keep=$(realpath -m "$keep")
files=()
targets=()
for argument in "$@"; do
	if [ -f "$argument" ]; then
		cp "$argument" "$WO_WORK/input.${#files[@]}" || exit 1
		chmod 644 "$WO_WORK/input.${#files[@]}"
		files+=("$WO_WORK/input.${#files[@]}")
	else
		targets+=("$argument")
	fi
done
if [ -n "$keep" ] && [ -d "$keep" ]; then
	cp -r "$keep" "$WO_WORK/keep" || exit 1
fi
wo_run mkdir -p "$WO_WORK/fuzz"
[ ! -d "$WO_WORK/keep" ] || wo_root chown -R postgres: "$WO_WORK/keep"

cd "$WO_TREE" || exit 1
wo_run env PG_CONFIG="$PG_CONFIG" FUZZ_SECONDS="${FUZZ_SECONDS:-60}" \
	FUZZ_FOLDER="$WO_WORK" perl test/fuzz/fuzz.pl "${targets[@]}" "${files[@]}"
rc=$?
if [ -n "$keep" ]; then
	mkdir -p "$keep" && cp -r "$WO_WORK/keep/." "$keep"
fi
if [ -n "$(ls -A "$WO_WORK/failed" 2>/dev/null)" ]; then
	mkdir -p "$WO_TOP/tmp_check/fuzz"
	cp "$WO_WORK"/failed/* "$WO_TOP/tmp_check/fuzz"
	wo_say "inputs that fail are in tmp_check/fuzz"
fi
exit $rc
