package stage

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// serveNames answers for the names outside of the cluster, and for no others.
func (s *Stage) serveNames() error {
	conn, err := net.ListenPacket("udp", hub+":53")
	if err != nil {
		return fmt.Errorf("serve names: %w", err)
	}
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer, err := s.name(buffer[:n]); err == nil {
				_, _ = conn.WriteTo(answer, from) // a lost answer is asked for again
			}
		}
	}()
	return nil
}

func (s *Stage) name(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	for _, q := range m.Questions {
		if !slices.Contains(s.Hosts, strings.TrimSuffix(q.Name.String(), ".")) {
			m.RCode = dnsmessage.RCodeNameError
			continue
		}
		if q.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60},
				Body:   &dnsmessage.AResource{A: netip.MustParseAddr(outsideHost).As4()},
			})
		}
	}
	return m.Pack()
}
