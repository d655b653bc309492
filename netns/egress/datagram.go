package egress

// Datagrams to an address that is allowed for its name only. QUIC and DTLS tell the
// name where it cannot be read without their keys, so their first packets are refused,
// whatever the port; a program that speaks HTTP/3 goes on with TCP.

// hidesName says whether a datagram begins a conversation whose peer cannot be read.
func hidesName(b []byte) bool {
	switch {
	case len(b) >= 1200 && b[0]&0x80 != 0 && (b[1]|b[2]|b[3]|b[4]) != 0:
		// A long header of QUIC with a version (RFC 8999); an Initial fills 1,200
		// bytes (RFC 9000, 14.1).
		return true
	case len(b) >= 13 && b[0] == 0x16 && b[1] == 0xfe:
		return true // a handshake of DTLS (RFC 9147)
	}
	return false
}
