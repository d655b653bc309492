#!/usr/bin/env bash
# make demo: from nothing to a running container, as an unprivileged user.
# Started as root it makes the user coracle-demo, and all that follows runs as
# that user; otherwise it runs as you. Nothing of yours is touched: home,
# store and runtime directory are below a temporary directory.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)

if [ -z "${DEMO_DIR:-}" ]; then
	# Where homes are, not below /tmp: over the host's own root, a container
	# has a /tmp of its own.
	parent=$HOME
	[ "$(id -u)" != 0 ] || parent=/home
	DEMO_DIR=$(mktemp -d "$parent/coracle-demo-XXXXXX")
	export DEMO_DIR
	# Files of mapped ids go first, by whoever may remove them.
	trap 'unshare --user --map-root-user --map-auto rm -rf "$DEMO_DIR/home" 2>/dev/null || true; rm -rf "$DEMO_DIR"' EXIT
	mkdir "$DEMO_DIR/home"
	mkdir -m 700 "$DEMO_DIR/run"
	cp "$here/bin/coracle" "$here/internal/e2e/demo.sh" "$here/internal/e2e/testdata/make/debian" "$DEMO_DIR/"
	chmod 755 "$DEMO_DIR"
	as=()
	if [ "$(id -u)" = 0 ]; then
		user=coracle-demo
		"$here/internal/e2e/testuser.sh" "$user"
		chown -R "$user:" "$DEMO_DIR"
		as=(setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups)
	fi
	cd "$DEMO_DIR"
	"${as[@]}" env -i PATH="$DEMO_DIR:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" LANG=C.UTF-8 TERM="${TERM:-dumb}" \
		HOME="$DEMO_DIR/home" XDG_DATA_HOME="$DEMO_DIR/home/data" XDG_RUNTIME_DIR="$DEMO_DIR/run" \
		DEMO_DIR="$DEMO_DIR" bash "$DEMO_DIR/demo.sh"
	exit
fi

cd "$HOME"
say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
show() { # CMD…: print it as one would type it, then run it
	local line='$' word
	for word in "$@"; do
		case $word in *[!A-Za-z0-9_./:=,@%+-]* | '') word="'${word//\'/\'\\\'\'}'" ;; esac
		line+=" $word"
	done
	printf '%s\n' "$line"
	"$@"
}

say "Who is this? An ordinary user, with subordinate ids and nothing else."
show id
show grep "^$(id -un):" /etc/subuid /etc/subgid
show coracle version

say "A minimal Debian root, made by mmdebstrap from this machine's own mirror. (About 20 seconds.)"
show bash "$DEMO_DIR/debian"
show ls -sh debian.tar

say "Imported: one image in the store, which is an OCI layout."
show coracle import -c 'CMD ["/bin/bash"]' debian.tar demo/debian
show coracle images

say "It runs. Inside, we are root; outside, nobody in particular."
show coracle run --rm demo/debian sh -c 'grep PRETTY_NAME /etc/os-release; id; cat /proc/self/uid_map'

say "A package that makes a user of its own and files that belong to others: subordinate ids at work."
mkdir -p boat/DEBIAN boat/opt
printf 'Package: boat\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: a boat for one\n' >boat/DEBIAN/control
printf '#!/bin/sh\nset -e\nuseradd --system ferryman\nchown ferryman:mail /opt/oar\nchmod 2750 /opt/oar\n' >boat/DEBIAN/postinst
chmod 755 boat/DEBIAN/postinst
echo wood >boat/opt/oar
dpkg-deb --root-owner-group --build boat boat.deb >/dev/null
show coracle run --rm --network none -v "$PWD/boat.deb:/boat.deb:ro" demo/debian sh -ec '
	dpkg -i /boat.deb
	dpkg-statoverride --update --add www-data shadow 4710 /usr/bin/passwd
	ls -l /opt/oar /usr/bin/passwd'

say "Each container starts from the image again: what was written is gone."
show coracle run --rm demo/debian sh -c 'rm -rf /usr/share /opt /var; echo /*'
show coracle run --rm demo/debian sh -c 'echo /* /usr/share'

say "How long does a start take? Twenty of them:"
millis() { echo $((${EPOCHREALTIME//[!0-9]/} / 1000)); }
began=$(millis)
for _ in $(seq 20); do coracle run --rm --network none demo/debian true; done
printf '%s ms for each `coracle run --rm --network none demo/debian true`\n' $((($(millis) - began) / 20))

say "No image at all: the host's own root, with disposable writes."
show ls "$PWD"
show coracle run host -- sh -c "grep PRETTY_NAME /etc/os-release; rm -rf $PWD/*; echo vandal >$PWD/was-here; ls $PWD"
show ls "$PWD"
began=$(millis)
for _ in $(seq 20); do coracle run host -- true; done
printf '%s ms for each `coracle run host -- true`\n' $((($(millis) - began) / 20))

say "What could be better on this machine?"
show coracle doctor || true

say "That is all. The store and all containers go with the temporary directory."
