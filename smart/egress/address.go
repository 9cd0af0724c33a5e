package egress

import "net/netip"

// Public says whether an address is one of the public internet. netip's own
// questions (IsPrivate, IsGlobalUnicast) miss shared address space, address
// translation, 6to4, documentation and protocol networks, so the tables are
// ours. Sources: the IANA special-purpose address registries for IPv4 and IPv6
// (RFC 6890 and its updates).
func Public(ip netip.Addr) bool {
	if !ip.IsValid() || ip.Zone() != "" {
		return false
	}
	ip = ip.Unmap()
	if ip.Is4() {
		return public4(ip.As4())
	}
	b := ip.As16()
	if [12]byte(b[:12]) == [12]byte{0x00, 0x64, 0xff, 0x9b} { // 64:ff9b::/96, NAT64: what it leads to counts
		return public4([4]byte(b[12:]))
	}
	if b[0]&0xe0 != 0x20 { // outside 2000::/3 nothing is global: ::, ::1, v4-compatible, 64:ff9b:1::, 100::, 5f00::, fc00::, fe80::, fec0::, ff00::
		return false
	}
	switch {
	case b[0] == 0x20 && b[1] == 0x01 && b[2] < 0x02: // 2001::/23: Teredo, ORCHID, benchmarks, protocol assignments
		return false
	case b[0] == 0x20 && b[1] == 0x01 && b[2] == 0x0d && b[3] == 0xb8: // 2001:db8::/32 documentation
		return false
	case b[0] == 0x20 && b[1] == 0x02: // 2002::/16, 6to4
		return false
	case b[0] == 0x3f && b[1] == 0xff && b[2] < 0x10: // 3fff::/20 documentation
		return false
	}
	return true
}

// public4 goes by the first octet. 168.63.129.16 is in no registry: a cloud
// answers there with the secrets of its machines.
func public4(b [4]byte) bool {
	switch b[0] {
	case 0, 10, 127: // this network, private, loopback
		return false
	case 100: // 100.64/10 shared address space
		return b[1]&0xc0 != 64
	case 168:
		return b != [4]byte{168, 63, 129, 16}
	case 169: // link-local, and the metadata services of clouds
		return b[1] != 254
	case 172: // 172.16/12 private
		return b[1]&0xf0 != 16
	case 192:
		return public192(b)
	case 198: // 198.18/15 benchmarks, 198.51.100/24 documentation
		return b[1]&0xfe != 18 && (b[1] != 51 || b[2] != 100)
	case 203: // 203.0.113/24 documentation
		return b[1] != 0 || b[2] != 113
	}
	return b[0] < 224 // multicast, reserved, broadcast
}

// public192 knows 192.168/16 (private), 192.0.0/24 (protocol assignments),
// 192.0.2/24 (documentation), 192.31.196/24 and 192.175.48/24 (AS112),
// 192.52.193/24 (AMT) and 192.88.99/24 (6to4 relays).
func public192(b [4]byte) bool {
	switch [2]byte{b[1], b[2]} {
	case [2]byte{0, 0}, [2]byte{0, 2}, [2]byte{31, 196}, [2]byte{52, 193}, [2]byte{88, 99}, [2]byte{175, 48}:
		return false
	}
	return b[1] != 168
}

// metadata says whether a cloud serves the secrets of its machines at the
// address, although it lies in a network that Config.Private may open.
func metadata(ip netip.Addr) bool {
	switch ip.String() {
	case "100.100.100.200", "fd00:ec2::254", "fd20:ce::254":
		return true
	}
	return false
}

// openable says whether a network is part of one that Config.Private may open:
// never loopback, link-local or a metadata service.
func openable(p netip.Prefix) bool {
	for _, text := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"} {
		whole := netip.MustParsePrefix(text)
		if p.IsValid() && p.Bits() >= whole.Bits() && whole.Contains(p.Addr()) {
			return true
		}
	}
	return false
}
