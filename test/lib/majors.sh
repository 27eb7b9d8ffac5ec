# shellcheck shell=bash
# majors.sh - sourced by check.sh: the tests on servers that this machine does
# not have installed.
#
#   wo_check_on TARGET... -- SUITE...  run check.sh with these arguments on each
#                   TARGET, one after the other; test/suite/majors.pl judges what
#                   they said, which is left in tmp_check/majors/TARGET.log, or
#                   why there is no such server, in TARGET.skip
#   WO_MAJORS_SOME  the tests that depend most on the version, for CI
#
# TARGET: 17     that major's packages from the Debian release that has it, in a
#                root folder made by mmdebstrap
#         15c    that major built from Debian's source package, with assertions
#         15san  the same, with the extension compiled for AddressSanitizer and
#                UndefinedBehaviorSanitizer, which the server is started under
#
# Each run is a check.sh of its own, from bare checkout to summary. In a root
# folder it has its own mounts and process ids as well: what it mounts is never
# seen outside, and nothing that it starts outlives it.
#
# Settings (environment): WO_MAJORS_HOME (where root folders and builds are kept
# for the next time; default: removed at the end).

# SQL, then delivery, crashes, copies, rings, metrics, dumps, hooks and look-ups
# shellcheck disable=SC2034 # used by check.sh
WO_MAJORS_SOME=(regress isolation test/t/{001,003,004,010,014,020,033,039,041,042,043,046,048,049,051,052,054,055,057,059,070,073,080,083,084,091,092,098,107,108,113}_*.pl
	test/t/{093_hostile_dns,097_dead_nameserver,102_names}.pl)

# The Debian release whose packages are of this major.
wo_release_of() {
	case $1 in
		15) echo bookworm ;;
		17) echo trixie ;;
		18) echo forky ;;
		*) wo_fail "no Debian release is known to have PostgreSQL $1" ;;
	esac
}

# The mirror that this machine itself uses: no host's name is written here.
wo_mirror() {
	# shellcheck disable=SC2016 # for apt to expand
	local targets=(apt-get indextargets --format '$(REPO_URI)'
		'Created-By: Packages' 'Label: Debian')

	[ -n "$("${targets[@]}")" ] || wo_root apt-get -qq update
	"${targets[@]}" | head -n 1
}

# For mmdebstrap: unpack packages without what they depend on.
wo_unpack_hook() {
	# shellcheck disable=SC2016 # for the hook to expand
	printf 'chroot "$1" sh -ec "cd /tmp; apt-get -qq download %s
		for deb in *.deb; do dpkg-deb -x \\$deb /; done; rm *.deb"\n' "$*"
}

# The same: look into another release as well.
wo_add_release_hook() {
	# shellcheck disable=SC2016 # for the hook to expand
	printf 'echo "deb %s %s main" >>"$1/etc/apt/sources.list"
		chroot "$1" apt-get -qq update\n' "$(wo_mirror)" "$1"
}

# A root folder with server, compiler and what the tests need. The server's
# headers are unpacked, not installed: their package depends on 800 MB of clang.
# Nothing is installed later: tests that want more skip, as they do elsewhere.
# Beside 17 lies an unpacked 15, for pg_upgrade.
wo_make_root() {
	local major=$1 root=$2 release old=

	# shellcheck disable=SC2016 # for the hook to expand
	local close=': >"$1/etc/apt/sources.list"'

	release=$(wo_release_of "$major") || return 1
	[ "$major" != 17 ] ||
		old="$(wo_add_release_hook "$(wo_release_of 15)")
			$(wo_unpack_hook postgresql-15 postgresql-client-15 \
			postgresql-server-dev-15 libicu72 libldap-2.5-0)"
	# without what is not needed here, above all the 150 MB of LLVM for jit;
	# a mirror that has stood still is good enough here
	mmdebstrap --mode=root --variant=apt \
		--aptopt='Acquire::Check-Valid-Until "false"' \
		--aptopt='APT::Install-Recommends "false"' \
		--dpkgopt=force-unsafe-io \
		--dpkgopt='path-exclude=/usr/lib/*/libLLVM*' \
		--dpkgopt='path-exclude=/usr/lib/postgresql/*/lib/llvmjit*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--include="postgresql-$major,postgresql-$major-cron,make,gcc,libc6-dev" \
		--include=libcurl4-openssl-dev,libssl-dev,openssl,ca-certificates,iproute2,mount \
		--include=libipc-run-perl,libio-socket-ssl-perl,python3-h2 \
		--customize-hook="$(wo_unpack_hook libpq-dev "postgresql-server-dev-$major")" \
		${old:+--customize-hook="$old"} \
		--customize-hook="$close" \
		"$release" "$root" "$(wo_mirror)" &&
		cp /etc/hosts "$root/etc/hosts" && : >>"$root/etc/resolv.conf"
}

# Run a command in a root folder, where /mnt is this checkout, read only. The folder
# becomes the root of the namespace: in a mere chroot the kernel lets nobody make
# namespaces for users, and tests that need names or disks of their own would skip.
wo_run_in_root() {
	# shellcheck disable=SC2016 # for the inner shell to expand
	unshare --mount --pid --fork --kill-child sh -ec '
		root=$1
		mount --bind "$root" "$root"
		mount --bind -o ro "$2" "$root/mnt"
		mount -t proc proc "$root/proc"
		mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
		shift 2
		cd "$root"
		pivot_root . .
		umount -l .
		exec "$@"' sh "$1" "$WO_TOP" "${@:2}"
}

# PostgreSQL with assertions, and compiled with further flags, below a folder. The
# newest source that the mirror has is taken, whatever version this machine has
# installed. Beside it lies what its authors have valgrind pass over.
wo_make_server() {
	local major=$1 prefix=$2 flags=${3:-} work=$2.source release option module
	local options=(-o "Dir::Etc::SourceList=$work/sources.list"
		-o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$work/lists"
		-o Dir::State::Status=/dev/null -o Dir::Cache::PkgCache=
		-o Dir::Cache::SrcPkgCache= -o APT::Sandbox::User=root
		-o Acquire::Check-Valid-Until=false)

	release=$(wo_release_of "$major") || return 1
	mkdir -p "$work/lists/partial" "$work/tree"
	echo "deb-src $(wo_mirror) $release main" >"$work/sources.list"
	option=$([ "$major" -lt 16 ] || echo --without-icu)
	(cd "$work" && apt-get -qq "${options[@]}" update &&
		apt-get -qq "${options[@]}" source --download-only "postgresql-$major" &&
		tar -xf postgresql-*.orig.tar.* -C tree --strip-components=1 &&
		cd tree && ./configure --quiet --prefix="$prefix" --enable-cassert \
		--enable-debug --enable-tap-tests --with-openssl --without-readline \
		${option:+"$option"} CFLAGS="-O1 -g -fno-omit-frame-pointer $flags" &&
		make -s -j"$(nproc)" && make -s install &&
		cp src/tools/valgrind.supp "$prefix/share/" &&
		for module in pg_stat_statements auto_explain; do # tests ask them
			make -s -C "contrib/$module" install || exit
		done) && rm -rf "$work"
}

# Make what a target needs, unless it is there; why not, when it cannot be had.
wo_make_target() {
	local target=$1 place=$2 major=${1%%[a-z]*} make=wo_make_root flags='' recipe

	[ "$target" != "${major}v" ] || command -v valgrind >/dev/null || {
		echo "valgrind is not installed"
		return 1
	}
	[ "$target" = "$major" ] || make=wo_make_server
	[ "$target" != "${major}v" ] || flags=-DUSE_VALGRIND
	# what was kept and is made otherwise by now is made anew
	recipe="$(declare -f "$make" | cksum) $flags"
	[ "$(cat "$place.ready" 2>/dev/null)" != "$recipe" ] || return 0
	[ "$(id -u)" = 0 ] || {
		echo "root is needed to make it"
		return 1
	}
	if [ "$target" = "$major" ]; then
		unshare --mount --pid --fork true 2>/dev/null || {
			echo "mounts of one's own are not allowed here"
			return 1
		}
	fi
	rm -rf "$place" "$place.ready"
	$make "$major" "$place" $flags >"$place.log" 2>&1 || {
		(grep '^E: ' "$place.log" || tail -n 5 "$place.log") | head -n 5 | tr '\n' ' '
		return 1
	}
	echo "$recipe" >"$place.ready"
}

# One target: its server, then a check.sh of its own with these arguments.
wo_check_on_one() {
	local target=$1 tests=("${@:2}") said=$WO_TREE/tmp_check/majors/$1
	local major=${1%%[a-z]*} home=${WO_MAJORS_HOME:-$WO_WORK/majors}
	local place=$home/${1/%san/c} reason sanitizers valgrind old

	mkdir -p "$home"
	wo_say "making a server: PostgreSQL $target"
	reason=$(wo_make_target "$target" "$place") || {
		wo_say "there is no PostgreSQL $target: $reason"
		echo "$reason" >"$said.skip"
		return
	}
	wo_say "running on PostgreSQL $target: ${tests[*]}"
	# what the outer check.sh has set is not for the inner one
	local run=(env -u WO_UNPACKED -u WO_ARTIFACTS -u PROVE_FLAGS -u WO_KEEP)
	case $target in
		"$major")
			old=/usr/lib/postgresql/15/bin/pg_config
			[ -x "$place$old" ] || old=
			wo_run_in_root "$place" "${run[@]}" -u TMPDIR COPT="$COPT" \
				WO_OLD_PG_CONFIG="$old" HOME=/root \
				PG_CONFIG="/usr/lib/postgresql/$major/bin/pg_config" \
				/mnt/test/check.sh "${tests[@]}"
			;;
		*c)
			"${run[@]}" COPT="$COPT" PG_CONFIG="$place/bin/pg_config" \
				"$WO_TOP/test/check.sh" "${tests[@]}"
			;;
		*san)
			# a finding ends the process, and is told in a file of its own:
			# a worker that ended is started again, which a test may not see.
			# What a test preloads comes after the sanitizers.
			sanitizers="detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=1:disable_coredump=1:log_path=$said.finding"
			"${run[@]}" PG_CONFIG="$place/bin/pg_config" \
				COPT="$COPT -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all" \
				WO_SERVER_ENV="LD_PRELOAD='$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)'\${LD_PRELOAD:+:\$LD_PRELOAD} ASAN_OPTIONS=$sanitizers UBSAN_OPTIONS=$sanitizers:print_stacktrace=1" \
				"$WO_TOP/test/check.sh" "${tests[@]}"
			;;
		*v)
			# some 20 times slower: what waits, waits longer. Paths of sources
			# are told from the top folder of each tree on.
			valgrind="valgrind --error-limit=no --num-callers=40 --fullpath-after=/tree/ --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=none"
			valgrind+=" --suppressions=$place/share/valgrind.supp"
			"${run[@]}" COPT="$COPT" PG_CONFIG="$place/bin/pg_config" \
				PG_TEST_TIMEOUT_DEFAULT="${PG_TEST_TIMEOUT_DEFAULT:-300}" \
				PGCTLTIMEOUT="${PGCTLTIMEOUT:-300}" \
				WO_MEMCHECK="$said.memcheck" \
				WO_SERVER_UNDER="$valgrind --log-file=$said.memcheck.%p" \
				"$WO_TOP/test/check.sh" "${tests[@]}"
			;;
	esac >"$said.log" 2>&1 </dev/null
	echo "exit code $?" >>"$said.log"
}

# Targets as one word each, "--", arguments for check.sh.
wo_check_on() {
	local targets=() target

	while [ "$1" != -- ]; do
		targets+=("$1")
		shift
	done
	shift
	wo_run mkdir -p "$WO_TREE/tmp_check/majors"
	for target in "${targets[@]}"; do
		wo_check_on_one "$target" "$@"
	done
}
