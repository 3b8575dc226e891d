package audit

var controlPlaneCases = []examinedCluster{
	{"CTL-006", "proxies are not authenticated", func(s *ClusterScene) { s.ControlPlanes[0].Settings["XDS_AUTH"] = "false" },
		[]string{"Deployment/istio-system/istiod: XDS_AUTH=false"}},
	{"CTL-006", "as it is by default", func(s *ClusterScene) { s.ControlPlanes[0].Settings["XDS_AUTH"] = "1" }, nil},
	{"CTL-006", "from elsewhere", func(s *ClusterScene) { s.ControlPlanes[0].SettingsElsewhere = []string{"XDS_AUTH"} },
		[]string{"Deployment/istio-system/istiod: XDS_AUTH is taken from another object"}},
	{"CTL-006", "not read", func(s *ClusterScene) { s.ControlPlaneRead, s.ControlPlanes = false, nil },
		[]string{"Namespace/istio-system: can't be read"}},
}
