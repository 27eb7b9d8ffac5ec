#!/bin/bash
# run.sh - make bench: install what is missing, build, measure.
#
#   make bench                        every row, about 30 minutes
#   make bench ROWS="drain latency"   some: see the list in bench.pl
#   BENCH_QUICK=1 make bench          all of it small, about 5 minutes
#
# PostgreSQL, nginx and all files live in one temporary folder, which is removed
# at the end. Keep the machine quiet meanwhile: nothing runs beside what is
# being measured. Further settings: those of test/lib/setup.sh.

set -u
cd "$(dirname "$0")/../.." || exit 1
. test/lib/setup.sh

wo_setup nginx openssl pkg-config
cd "$WO_TREE/test/bench" || exit 1
for program in bare_loop stamp; do
	# shellcheck disable=SC2046 # flags are a list
	wo_run gcc -std=gnu99 -D_GNU_SOURCE -O2 -o "$program" "$program.c" \
		$(pkg-config --libs libcurl) || wo_fail "$program does not build"
done
# the same library, but that it keeps no metrics
wo_run cp -r "$WO_TREE" "$WO_WORK/without"
wo_run make -s -C "$WO_WORK/without" clean with_llvm=no PG_CONFIG="$PG_CONFIG" >/dev/null
wo_run make -s -j2 -C "$WO_WORK/without" with_llvm=no PG_CONFIG="$PG_CONFIG" \
	COPT=-DWO_WITHOUT_METRICS webhook_outbox.so >/dev/null || wo_fail 'the library does not build'
wo_run env PG_CONFIG="$PG_CONFIG" WO_BIN="$WO_BIN" WO_WORK="$WO_WORK" \
	WO_LIBRARY="$("$PG_CONFIG" --pkglibdir)/webhook_outbox.so" \
	WO_WITHOUT_METRICS="$WO_WORK/without/webhook_outbox.so" PATH="$PATH:/usr/sbin" BENCH_QUICK="${BENCH_QUICK:-}" ROWS="${ROWS:-}" \
	perl -I . bench.pl
