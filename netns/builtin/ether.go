package builtin

import (
	"encoding/binary"

	"coracle/netns"

	"golang.org/x/sys/unix"
)

// A container with a hardware address of its own (netns.Config.MAC) has a TAP device:
// between the virtio-net header and the packet there is an Ethernet header. Neither
// asks who has an address: the interface is one without ARP (IFF_NOARP), which takes
// what is sent to its own address. So the stack and all else see packets only.

const etherLen = 14

// heading is what a packet has before it: the virtio-net header, and with a TAP device
// Ethernet's.
type heading = [vnetHeader + etherLen]byte

// headingLen is how much of it a device has.
func headingLen(mac netns.MAC) int {
	if mac == (netns.MAC{}) {
		return vnetHeader
	}
	return vnetHeader + etherLen
}

// gatewayMAC is who frames for a container come from: a local address (IEEE 802, 8.4).
var gatewayMAC = netns.MAC{0x02, 'c', 'o', 'r', 'a', 'c'}

// frame completes the heading of a packet that goes to a device with this address.
func frame(head *heading, mac netns.MAC, six bool) {
	if mac == (netns.MAC{}) {
		return
	}
	shift(head, etherLen)
	copy(head[vnetHeader:], mac[:])
	copy(head[vnetHeader+6:], gatewayMAC[:])
	kind := uint16(unix.ETH_P_IP)
	if six {
		kind = unix.ETH_P_IPV6
	}
	binary.BigEndian.PutUint16(head[vnetHeader+12:], kind)
}

// shift moves the offsets of the virtio-net header, which count from where the device's
// own header begins.
func shift(head *heading, by int) {
	for _, at := range []int{2, 6} { // hdr_len, csum_start
		if v := binary.NativeEndian.Uint16(head[at:]); v != 0 {
			putHost(head[at:], uint16(int(v)+by))
		}
	}
}
