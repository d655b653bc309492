#!/usr/bin/env bash
# testuser.sh NAME: as root, makes an unprivileged user with 65536 subordinate
# ids, and opens the device nodes that udev opens elsewhere. A no-op when all
# is there. The user stays on the machine and owns nothing.
set -euo pipefail
name=$1
id "$name" >/dev/null 2>&1 || useradd -M -d /nonexistent -s /bin/bash "$name"

# give FILE FLAG: a range above everybody else's, where useradd gave none.
give() {
	touch "$1"
	! grep -q "^$name:" "$1" || return 0
	local first
	first=$(awk -F: '$2 + $3 > n { n = $2 + $3 } END { if (n < 200000) n = 200000; print n }' "$1")
	usermod "$2" "$first-$((first + 65535))" "$name"
}
give /etc/subuid --add-subuids
give /etc/subgid --add-subgids

for device in /dev/fuse /dev/net/tun; do
	[ ! -e "$device" ] || chmod 666 "$device"
done
