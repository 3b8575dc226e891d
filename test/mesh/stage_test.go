package mesh

import (
	"testing"

	"github.com/meshsecurity/mesh-security-operator/test/mesh/traffic"
)

func TestSmoke(t *testing.T) {
	s := theStage(t)
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	api := s.Pods()["payments/api"]
	for _, from := range []string{"shop/checkout", "payments/ledger", "legacy/batch", "internet"} {
		for _, c := range []traffic.Call{
			{Protocol: traffic.HTTP1, Address: api.Address + ":8080", Host: "api.payments", Method: "GET", Path: "/x"},
			{Protocol: traffic.HTTP2, Address: api.Address + ":8080", Host: "api.payments", Method: "GET", Path: "/x"},
			{Protocol: traffic.GRPC, Address: api.Address + ":9000", Host: "api.payments:9000"},
			{Protocol: traffic.TCP, Address: api.Address + ":5432"},
		} {
			a, err := s.Pods()[from].Do(t.Context(), c)
			t.Logf("%s %+v: %+v %v", from, c, a, err)
		}
	}
}
