#!/bin/bash
# run.sh - make fault: install what is missing, build, and kill at random
# moments while events flow; then compare what was sent with what was committed.
#
#   FAULT_SEED=1234 make fault     the same choices again (timing differs)
#   FAULT_EVENTS=20000             how many events that are meant to stay
#   FAULT_KILLS=14                 how many kills
#
# Everything lives in one temporary folder, which is removed at the end; with
# WO_KEEP=1 it stays, and check.pl can be run again. Further settings: those of
# test/lib/setup.sh.

set -u
cd "$(dirname "$0")/../.." || exit 1
. test/lib/setup.sh

wo_setup perl
cd "$WO_TREE/test/fault" || exit 1
wo_run env PG_CONFIG="$PG_CONFIG" WO_BIN="$WO_BIN" WO_WORK="$WO_WORK" \
	FAULT_SEED="${FAULT_SEED:-}" FAULT_EVENTS="${FAULT_EVENTS:-}" \
	FAULT_KILLS="${FAULT_KILLS:-}" perl fault.pl
