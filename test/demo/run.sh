#!/bin/bash
# run.sh - make demo: install what is missing, build, and tell the story.
#
# PostgreSQL, pg_cron, the receiver and all files live in one temporary folder,
# which is removed at the end. Settings: those of test/lib/setup.sh, NO_COLOR.

set -u
cd "$(dirname "$0")/../.." || exit 1
. test/lib/setup.sh

wo_need_postgres
# a PostgreSQL that is not Debian's may well have pg_cron from elsewhere
wo_setup ${WO_MAJOR:+"postgresql-$WO_MAJOR-cron"}
cd "$WO_TREE" || exit 1
wo_run env PG_CONFIG="$PG_CONFIG" WO_BIN="$WO_BIN" WO_WORK="$WO_WORK" \
	NO_COLOR="${NO_COLOR:-}" test/demo/story.sh
