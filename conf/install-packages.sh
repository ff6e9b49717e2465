#!/bin/bash
# Installs what conf/packages.txt names and this machine lacks. Called by conf/run.sh and by hand.
#   install-packages.sh [SECTION...]   sections: build run test bench; none: all of them
# As root it installs; with a sudo that asks no password it does so too; else it prints the command
# and exits with 1. Services that come with a package are neither started nor enabled.
set -u
# Where nginx and other services are; after a plain `su` it is not there.
PATH=$PATH:/usr/sbin

here=$(cd "$(dirname "$0")" && pwd) || exit 1

# The packages of the given sections ("# build" and so on begin one), one a line.
wanted_packages() {
	local section='' line
	while IFS= read -r line; do
		case $line in
		'# '*) section=${line#'# '} ;;
		'') ;;
		*)
			if [ $# -eq 0 ] || [[ " $* " == *" $section "* ]]; then
				printf '%s\n' "$line"
			fi
			;;
		esac
	done <"$here/packages.txt"
}

# By itself, or as part of another one that says so: a vendor's nodejs brings npm along.
is_installed() {
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ] || [[ " $provided " == *" $1 "* ]]
}

if ! command -v dpkg-query >/dev/null; then
	echo "install-packages: this is not a Debian system; see conf/packages.txt for what is needed" >&2
	exit 0
fi
provided=$(dpkg-query -W -f='${db:Status-Status} ${Provides}\n' | sed -n 's/^installed //p' | sed 's/([^)]*)//g' | tr -s ', \n' ' ')
missing=()
for package in $(wanted_packages "$@"); do
	is_installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	how='as root with' sudo=
	if command -v sudo >/dev/null; then
		! sudo -n true 2>/dev/null || exec sudo -n "$0" "$@"
		how='with' sudo='sudo '
	fi
	echo "Missing packages; install them $how" >&2
	echo "  ${sudo}apt-get update && ${sudo}apt-get install --no-install-recommends ${missing[*]}" >&2
	exit 1
fi

# Packages of services start them when they are installed, unless this program forbids it
# (invoke-rc.d(8)). Ours is there only as long as we install, and only where there is none.
policy=/usr/sbin/policy-rc.d
made_policy=
forbid_services() {
	[ ! -e "$policy" ] || return 0
	printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made_policy=1
}
allow_services() {
	[ -z "$made_policy" ] || rm -f "$policy"
	made_policy=
}
trap allow_services EXIT
trap 'exit 1' INT TERM HUP

new_services=()
for service in nginx lighttpd redis-server beanstalkd prometheus; do # each is called like its program
	command -v "$service" >/dev/null || new_services+=("$service")
done
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
forbid_services
# A machine that was just made may be busy with its own upgrades.
if ! apt-get -q update || ! apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "${missing[@]}"; then
	echo "install-packages: apt-get failed" >&2
	exit 1
fi
allow_services
# Not after the next boot either: taskring starts its own nginx, the benchmarks their own brokers.
for service in "${new_services[@]}"; do
	if command -v "$service" >/dev/null && command -v systemctl >/dev/null; then
		systemctl disable "$service.service" >/dev/null 2>&1 && echo "$service.service is installed, but not enabled"
	fi
done
exit 0
