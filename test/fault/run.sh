#!/bin/bash
# run.sh - make fault: the scenarios of test/fault/t in their long form, each a
# TAP program (Fault.pm), with its figures.
#
#   make fault FAULTS="kills promote"     these scenarios alone, which may be
#                                         arguments of this script as well
#   FAULT_SEED=1234 make fault            the same choices again (timing differs)
#   FAULT_EVENTS=20000 make fault         another size; each scenario names its own
#
# The short form is a suite of make check. Further settings: those of
# test/check.sh.

set -u
cd "$(dirname "$0")/../.." || exit 1
export FAULTS="${FAULTS:-$*}"
FAULT_SHORT='' PROVE_FLAGS="-v ${PROVE_FLAGS:-}" exec test/check.sh fault
