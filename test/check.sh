#!/bin/bash
# check.sh - what make check and make lint run.
#
#   test/check.sh [SUITE | FILE.pl]...
#
# Suites: lint, analyze, regress, isolation, tap, fault, fuzz (default: the last
# five; analyze takes minutes of CPU). Everything is TAP, run by one prove, so its
# closing lines sum up all of it. A FILE.pl is one TAP test, for use while working
# on it.
#
# Suites that need root, a mirror of Debian and minutes, run before the others
# (test/lib/majors.sh):
#   majors    regress, isolation and some TAP tests on PostgreSQL 17 and 18
#   cassert   everything on PostgreSQL 15 with assertions
#   asan      the same, with AddressSanitizer and UndefinedBehaviorSanitizer
#   valgrind  delivery on PostgreSQL 15 built for valgrind, under it
#
# Settings (environment): COPT (compiler flags, default -DUSE_ASSERT_CHECKING),
# PROVE_FLAGS, PG_TEST_TIMEOUT_DEFAULT, FAULTS (which scenarios of test/fault/t;
# default all), FAULT_SHORT (1, the default, for short ones; make fault runs them
# long), REGRESS_TESTS (which of test/sql and test/specs, without their endings;
# default all), MAJORS (servers instead of 17 and 18), MAJORS_TESTS (suites and files
# for the four suites that make a server, or "all"), and those of
# test/fault/Fault.pm, test/lib/majors.sh and test/lib/setup.sh.

set -u
cd "$(dirname "$0")/.." || exit 1
. test/lib/setup.sh
. test/lib/majors.sh

COPT="${COPT:--DUSE_ASSERT_CHECKING} -DWO_FAULT_POINTS"
files=()
packages=()
wanted=()
majors=()
majors_tests=()
[ $# -gt 0 ] || set -- regress isolation tap fault fuzz
for suite in "$@"; do
	case $suite in
		-h | --help)
			sed -n '2,/^$/s/^# \{0,1\}//p' test/check.sh
			exit 0
			;;
		*.pl) [ -f "$suite" ] || wo_fail "no file $suite" ;;
	esac
	case $suite in
		lint)
			packages+=(cppcheck shellcheck codespell pg-bsd-indent universal-ctags)
			files+=(test/suite/lint.pl)
			;;
		analyze)
			packages+=(clang clang-tidy clang-tools)
			files+=(test/suite/analyze.pl)
			;;
		regress | isolation) files+=("test/suite/$suite.pl") ;;
		fault)
			read -r -d '' -a faults <<<"${FAULTS:-$(cd test/fault/t && ls)}"
			for fault in "${faults[@]}"; do
				[ -f "test/fault/t/${fault%.pl}.pl" ] || wo_fail "no scenario test/fault/t/${fault%.pl}.pl"
				files+=("test/fault/t/${fault%.pl}.pl")
			done
			;;
		fuzz)
			wanted+=(clang libclang-rt-dev llvm)
			files+=(test/suite/fuzz.pl)
			;;
		tap)
			packages+=(postgresql-NN-cron libio-socket-ssl-perl)
			wanted+=(chromium)
			files+=(test/t/[0-9]*.pl)
			;;
		majors | cassert | asan | valgrind)
			[ ${#majors[@]} -eq 0 ] || wo_fail "majors, cassert, asan and valgrind: one at a time"
			;;&
		majors)
			wanted+=(mmdebstrap)
			read -ra majors <<<"${MAJORS:-17 18}"
			majors_tests=("${WO_MAJORS_SOME[@]}")
			;;
		cassert | asan)
			wanted+=(bison flex zlib1g-dev)
			majors=("$([ "$suite" = asan ] && echo 15san || echo 15c)")
			majors_tests=(regress isolation tap fault)
			;;
		valgrind)
			wanted+=(bison flex zlib1g-dev valgrind libio-socket-ssl-perl)
			majors=(15v)
			majors_tests=(test/suite/valgrind.pl)
			;;
		*pg_cron.pl)
			packages+=(postgresql-NN-cron)
			files+=("$suite")
			;;
		*_console.pl)
			wanted+=(chromium)
			files+=("$suite")
			;;
		*_tls.pl | *_dns.pl)
			packages+=(libio-socket-ssl-perl)
			files+=("$suite")
			;;
		*.pl) files+=("$suite") ;;
		*) wo_fail "no suite $suite: lint, analyze, regress, isolation, tap, fault, fuzz, majors, cassert, asan, valgrind or a file" ;;
	esac
done

if [ "$*" = lint ]; then
	wo_need_postgres
	wo_need_packages "${packages[@]}"
	wo_make_work
else
	wo_setup "${packages[@]}"
	wo_want_packages "${wanted[@]}"
fi

cd "$WO_TREE" || exit 1
wo_run mkdir -p tmp_check tmp
if [ ${#majors[@]} -gt 0 ]; then
	case ${MAJORS_TESTS:-} in
		'') ;;
		all) majors_tests=(regress isolation tap fault) ;;
		*) read -ra majors_tests <<<"$MAJORS_TESTS" ;;
	esac
	export WO_MAJORS=${majors[*]}
	wo_check_on "${majors[@]}" -- "${majors_tests[@]}"
	files+=(test/suite/majors.pl)
fi
# a test says which packages it wants unpacked: "# Unpacks: NAME..."
mapfile -t unpacked < <(sed -n 's/^# Unpacks: //p' "${files[@]}" | tr ' ' '\n' | sort -u)
[ ${#unpacked[@]} -eq 0 ] || wo_unpack_packages "${unpacked[@]}"
regress=$("$PG_CONFIG" --pkglibdir)/pgxs/src/test/regress/pg_regress
perl=$(dirname "$regress")/../perl
# shellcheck disable=SC2086 # PROVE_FLAGS is a list
wo_run env -u MAKEFLAGS -u MAKELEVEL PG_CONFIG="$PG_CONFIG" \
	PATH="$("$PG_CONFIG" --bindir):$PATH" TESTDIR="$WO_TREE" \
	TESTDATADIR="$WO_TREE/tmp_check" TESTLOGDIR="$WO_TREE/tmp_check/log" \
	FAULT_SHORT="${FAULT_SHORT-1}" PG_REGRESS="$regress" PGPORT=65432 LC_ALL=C.UTF-8 TMPDIR="$WO_TREE/tmp" \
	prove -I "$perl" -I test/t -I test/fault ${PROVE_FLAGS:-} "${files[@]}"
rc=$?
if [ $rc -ne 0 ] && [ -n "${WO_ARTIFACTS:-}" ]; then
	mkdir -p "$WO_ARTIFACTS" && cp -r tmp_check results "$WO_ARTIFACTS" 2>/dev/null
fi
exit $rc
