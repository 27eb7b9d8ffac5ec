# shellcheck shell=bash
# setup.sh - sourced by every script that make runs: from a bare checkout to
# a built extension in a private copy of PostgreSQL, run as an ordinary user.
#
#   wo_need_packages NAME...  install Debian packages that are missing
#   wo_want_packages NAME...  the same, but go on if they cannot be installed
#   wo_setup [NAME...]        the same for PostgreSQL, compiler and NAME...,
#                             then copy the tree, build it and install it into
#                             a private copy of the server; NAME may be that of
#                             an extension, with NN for PostgreSQL's version
#                             (postgresql-NN-cron): tests skip what is not there
#   wo_unpack_packages NAME...  unpack Debian packages into a private folder,
#                             WO_UNPACKED: nothing is installed or started
#   wo_run COMMAND...         run COMMAND there, as postgres if we are root
#
# After wo_setup: WO_WORK (folder for everything, removed at exit unless
# WO_KEEP is set), WO_TREE (the copy of the tree), PG_CONFIG and WO_BIN (of
# the private server).
#
# Why a private copy of the server: PostgreSQL finds its files relative to its
# binaries, so a folder with copied binaries and a tree of links for the rest
# is a whole installation. Nothing is installed into the machine's own, no root
# is needed for it, and two checkouts can be tested at once.
#
# Settings (environment): PG_CONFIG (which PostgreSQL; default: the newest
# that Debian has), COPT (compiler flags), WO_SERVER_ENV (what servers have in
# their environment: NAME='VALUE'...), WO_SERVER_UNDER (a command that servers are
# started under), WO_OLD_PG_CONFIG (an older PostgreSQL, which pg_upgrade is then
# tested from), WO_KEEP=1, TMPDIR.

WO_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

wo_say() {
	printf '== %s\n' "$*"
}

wo_fail() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# Run a command as root, by sudo if need be.
wo_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		return 1
	fi
}

wo_is_installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

wo_need_packages() {
	local missing=() p log
	command -v dpkg-query >/dev/null ||
		wo_fail "this needs Debian packages, and dpkg is not here: install the equivalents of $* and set PG_CONFIG"
	for p in "$@"; do
		wo_is_installed "$p" || missing+=("$p")
	done
	[ ${#missing[@]} -eq 0 ] && return 0
	wo_say "installing Debian packages: ${missing[*]}"
	log=$(mktemp)
	wo_root env DEBIAN_FRONTEND=noninteractive sh -c '
		apt-get -qq update && apt-get -qq -y --no-install-recommends install "$@"' \
		sh "${missing[@]}" >"$log" 2>&1 || {
		tail -n 15 "$log" >&2
		rm -f "$log"
		wo_fail "cannot install packages; as root: apt-get install ${missing[*]}"
	}
	rm -f "$log"
}

# The same for what a test can do without, and then skips.
wo_want_packages() {
	[ $# -eq 0 ] || (wo_need_packages "$@") || wo_say "going on without: $*"
}

# Programs out of Debian packages that would start a service when they are
# installed. Where they cannot be had, tests that want them skip. Needs no
# root, unless apt has no lists yet.
wo_unpack_packages() {
	local debs=$WO_WORK/debs p
	export WO_UNPACKED=$WO_WORK/unpacked
	mkdir -p "$debs" "$WO_UNPACKED"
	wo_say "unpacking Debian packages: $*"
	(cd "$debs" && apt-get -qq download "$@" >/dev/null 2>&1) ||
		(wo_root apt-get -qq update && cd "$debs" && apt-get -qq download "$@") >/dev/null 2>&1 ||
		wo_say "cannot download them: tests that need them are skipped"
	for p in "$debs"/*.deb; do
		[ ! -e "$p" ] || dpkg-deb -x "$p" "$WO_UNPACKED" || return 1
	done
	[ "$(id -u)" != 0 ] || chown -R postgres: "$debs" "$WO_UNPACKED"
}

# The newest PostgreSQL that is installed for development, or can be.
wo_find_major() {
	local found
	found=$(printf '%s\n' /usr/lib/postgresql/*/lib/pgxs |
		sed -n 's,^/usr/lib/postgresql/\([0-9]*\)/.*,\1,p' | sort -n | tail -n 1)
	[ -n "$found" ] || {
		[ -n "$(apt-cache search --names-only '^postgresql-server-dev-[0-9]+$')" ] ||
			wo_root apt-get -qq update >/dev/null 2>&1
		found=$(apt-cache search --names-only '^postgresql-server-dev-[0-9]+$' |
			sed 's/^postgresql-server-dev-\([0-9]*\) .*/\1/' | sort -n | tail -n 1)
	}
	[ -n "$found" ] || wo_fail "no package postgresql-server-dev-NN is known: run apt-get update as root, or set PG_CONFIG"
	echo "$found"
}

# What the build needs. WO_MAJOR is empty when PG_CONFIG was given.
wo_need_postgres() {
	local major=${WO_MAJOR:-}
	if [ -n "${PG_CONFIG:-}" ]; then
		command -v "$PG_CONFIG" >/dev/null || wo_fail "PG_CONFIG=$PG_CONFIG is no program"
		PG_CONFIG=$(command -v "$PG_CONFIG")
		return 0
	fi
	[ -n "$major" ] || major=$(wo_find_major) || exit 1
	WO_MAJOR=$major
	wo_need_packages make gcc libc6-dev perl libipc-run-perl libcurl4-openssl-dev \
		libssl-dev "postgresql-$major" "postgresql-server-dev-$major"
	PG_CONFIG=/usr/lib/postgresql/$major/bin/pg_config
}

wo_run() {
	if [ "$(id -u)" = 0 ]; then
		runuser -u postgres -- env HOME="$WO_WORK" "$@"
	else
		"$@"
	fi
}

# The processes that work in the folder: each starts there.
wo_find_processes() {
	find /proc/[0-9]*/cwd -maxdepth 0 \( -lname "$WO_WORK" -o -lname "$WO_WORK/*" \) \
		2>/dev/null | cut -d/ -f3
}

# End them, and wait until they have. There are some when this script is told to
# end: their own end takes a moment, and servers are told by nobody else.
wo_end_processes() {
	local n pids tick=0.1

	cd / || return
	for ((n = 0; n < 200; n++)); do
		mapfile -t pids < <(wo_find_processes)
		[ ${#pids[@]} -gt 0 ] || return
		# tests stop some of them
		[ $((n % 50)) -gt 0 ] || kill -TERM "${pids[@]}" 2>/dev/null
		[ $((n % 50)) -gt 0 ] || kill -CONT "${pids[@]}" 2>/dev/null
		sleep "$tick"
	done
}

wo_clean_up() {
	local rc=$?
	trap '' INT TERM HUP
	wo_end_processes
	if [ -n "${WO_KEEP:-}" ]; then
		wo_say "kept: $WO_WORK" >&2
	else
		rm -rf "$WO_WORK"
	fi
	exit "$rc"
}

wo_make_work() {
	WO_WORK=$(realpath "$(mktemp -d "${TMPDIR:-/tmp}/webhook_outbox.XXXXXX")") || exit 1
	trap wo_clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	WO_TREE=$WO_WORK/tree
	mkdir "$WO_TREE"
	# a checkout of root's may be unreadable for postgres, and holds objects
	# that were built with other flags
	tar -C "$WO_TOP" -c --exclude=./.git --exclude='*.o' --exclude='*.bc' \
		--exclude='*.so' --exclude=./tmp_check --exclude=./results . |
		tar -C "$WO_TREE" -x || exit 1
	chmod 755 "$WO_WORK"
	[ "$(id -u)" != 0 ] && return 0
	id postgres >/dev/null 2>&1 ||
		wo_fail "started as root, and there is no user postgres to run a server as"
	chown -R postgres: "$WO_WORK"
}

# Copy the server that PG_CONFIG names; PG_CONFIG names the copy afterwards.
wo_copy_server() {
	local root=$WO_WORK/root dir option
	WO_BIN=$root$("$PG_CONFIG" --bindir)
	wo_run mkdir -p "$(dirname "$WO_BIN")"
	wo_run cp -aL "$("$PG_CONFIG" --bindir)" "$WO_BIN"
	for option in --pkglibdir --sharedir; do
		dir=$("$PG_CONFIG" "$option")
		wo_run mkdir -p "$(dirname "$root$dir")"
		wo_run cp -as "$dir" "$root$dir"
		wo_run find "$root$dir" -name 'webhook_outbox*' -prune -exec rm -rf {} +
	done
	for option in --includedir --libdir; do
		dir=$("$PG_CONFIG" "$option")
		wo_run mkdir -p "$(dirname "$root$dir")"
		[ -e "$root$dir" ] || wo_run ln -s "$dir" "$root$dir"
	done
	PG_CONFIG=$WO_BIN/pg_config
	export PG_CONFIG
}

# Give the copied server more of an environment, or start it under a command, but
# neither what initdb starts nor what only asks it something. It keeps the name of
# this script: what pg_ctl restart starts is what the postmaster says that it is.
# It cannot under a command: after pg_ctl restart it is without that.
wo_wrap_server() {
	local start="exec -a \"\$0\""

	[ -z "${WO_SERVER_UNDER:-}" ] || start="exec $WO_SERVER_UNDER"
	wo_run mv "$WO_BIN/postgres" "$WO_BIN/postgres.bare"
	wo_run tee "$WO_BIN/postgres" >/dev/null <<END
#!/bin/bash
case \$1 in
	--boot | --check | --single | --describe-config | -C | -V)
		exec "$WO_BIN/postgres.bare" "\$@"
		;;
esac
${WO_SERVER_ENV:+export $WO_SERVER_ENV}
$start "$WO_BIN/postgres.bare" "\$@"
END
	wo_run chmod 755 "$WO_BIN/postgres"
}

wo_build() {
	local log=$WO_WORK/build.log
	wo_run env -u MAKEFLAGS -u MAKELEVEL make -s -j"$(nproc)" -C "$WO_TREE" \
		with_llvm=no PG_CONFIG="$PG_CONFIG" ${COPT:+COPT="$COPT"} install >"$log" 2>&1 || {
		cat "$log" >&2
		wo_fail "the extension does not build"
	}
}

# The same for an older server, in WO_OLD_SERVER.
wo_set_up_old() {
	local new_tree=$WO_TREE WO_WORK=$WO_WORK/old
	local WO_TREE=$WO_WORK/tree WO_BIN PG_CONFIG=$WO_OLD_PG_CONFIG

	WO_OLD_SERVER=$WO_WORK/root$(dirname "$("$PG_CONFIG" --bindir)")
	export WO_OLD_SERVER
	wo_run mkdir "$WO_WORK"
	wo_run cp -r "$new_tree" "$WO_TREE"
	wo_copy_server
	wo_say "building with $("$PG_CONFIG" --version)"
	wo_build
}

# Put into packages what the arguments of wo_setup stand for.
wo_name_packages() {
	local p
	packages=()
	for p in "$@"; do
		case $p in
			*NN*)
				# a PostgreSQL of one's own has its extensions or has not
				[ -n "${WO_MAJOR:-}" ] || continue
				p=${p/NN/$WO_MAJOR}
				wo_is_installed "$p" || apt-cache show "$p" >/dev/null 2>&1 ||
					wo_root apt-get -qq update >/dev/null 2>&1
				wo_is_installed "$p" || apt-cache show "$p" >/dev/null 2>&1 || {
					wo_say "there is no package $p"
					continue
				}
				;;
		esac
		packages+=("$p")
	done
}

wo_setup() {
	local packages
	wo_need_postgres
	wo_name_packages "$@"
	[ ${#packages[@]} -eq 0 ] || wo_need_packages "${packages[@]}"
	wo_make_work
	wo_copy_server
	[ -z "${WO_SERVER_ENV:-}${WO_SERVER_UNDER:-}" ] || wo_wrap_server
	[ -z "${WO_OLD_PG_CONFIG:-}" ] || wo_set_up_old
	wo_say "building with $("$PG_CONFIG" --version)"
	wo_build
}
