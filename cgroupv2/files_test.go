package cgroupv2

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func parseResources(t *testing.T, text string) *specs.LinuxResources {
	t.Helper()
	var r specs.LinuxResources
	must(t, json.Unmarshal([]byte(text), &r))
	return &r
}

// facts are a cgroup's files, "NAME=content;…"; with a leading "swapless " the
// machine has no swap.
func textFacts(text string) Facts {
	text, noSwap := strings.CutPrefix(text, "swapless ")
	if text == "" {
		return Facts{NoSwap: noSwap}
	}
	files := map[string]string{}
	for f := range strings.SplitSeq(text, ";") {
		name, content, _ := strings.Cut(f, "=")
		files[name] = content
	}
	return Facts{NoSwap: noSwap, Read: func(name string) (string, bool) { s, ok := files[name]; return s + "\n", ok }}
}

// What each request becomes; where runc 1.5 and crun 1.26 differ, or do
// otherwise, the name says so.
func TestFiles(t *testing.T) {
	for name, tt := range map[string]struct{ in, facts, want string }{
		"nothing":                 {in: `{}`},
		"empty parts":             {in: `{"memory":{},"cpu":{},"pids":{},"blockIO":{},"network":{}}`},
		"memory limit":            {in: `{"memory":{"limit":536870912}}`, want: "memory.max=536870912"},
		"memory without limit":    {in: `{"memory":{"limit":-1}}`, want: "memory.swap.max=max memory.max=max"}, // crun: memory.max only
		"memory zero":             {in: `{"memory":{"limit":0,"reservation":0,"swap":0}}`},                     // crun writes 0
		"reservation":             {in: `{"memory":{"reservation":1048576}}`, want: "memory.low=1048576"},
		"reservation unlimited":   {in: `{"memory":{"reservation":-1}}`, want: "memory.low=max"},
		"swap is of both":         {in: `{"memory":{"limit":100,"swap":300}}`, want: "memory.swap.max=200 memory.max=100"},
		"no swap":                 {in: `{"memory":{"limit":100,"swap":100}}`, want: "memory.swap.max=0 memory.max=100"},
		"all swap":                {in: `{"memory":{"limit":100,"swap":-1}}`, want: "memory.swap.max=max memory.max=100"},
		"swap and no limit":       {in: `{"memory":{"limit":-1,"swap":300}}`, want: "memory.swap.max=300 memory.max=max"},
		"swap of an old limit":    {in: `{"memory":{"swap":300}}`, facts: "memory.max=100;memory.swap.max=max", want: "memory.swap.max=200"},
		"swap not counted, max":   {in: `{"memory":{"limit":100,"swap":-1}}`, facts: "memory.max=max", want: "memory.max=100"},
		"no swap, none there":     {in: `{"memory":{"limit":100,"swap":100}}`, facts: "swapless memory.max=max", want: "memory.max=100"},
		"harmless old fields":     {in: `{"memory":{"kernel":-1,"kernelTCP":0,"disableOOMKiller":false,"useHierarchy":true}}`},
		"check, enough":           {in: `{"memory":{"limit":100,"checkBeforeUpdate":true}}`, facts: "memory.current=99", want: "memory.max=100"},
		"check, new cgroup":       {in: `{"memory":{"limit":100,"checkBeforeUpdate":true}}`, want: "memory.max=100"},
		"shares":                  {in: `{"cpu":{"shares":1024}}`, want: "cpu.weight=100"},
		"shares zero":             {in: `{"cpu":{"shares":0,"quota":0,"period":0}}`},
		"quota":                   {in: `{"cpu":{"quota":50000}}`, want: "cpu.max=50000_100000"},
		"quota and period":        {in: `{"cpu":{"quota":20000,"period":10000}}`, want: "cpu.max=20000_10000"},
		"period alone":            {in: `{"cpu":{"period":10000}}`, want: "cpu.max=max_10000"},
		"no quota":                {in: `{"cpu":{"quota":-1}}`, want: "cpu.max=max_100000"}, // crun: nothing
		"quota of an old period":  {in: `{"cpu":{"quota":2000}}`, facts: "cpu.max=max 5000", want: "cpu.max=2000_5000"},
		"period of an old quota":  {in: `{"cpu":{"period":5000}}`, facts: "cpu.max=2000 100000", want: "cpu.max=2000_5000"},
		"burst":                   {in: `{"cpu":{"quota":50000,"burst":20000}}`, want: "cpu.max.burst=20000 cpu.max=50000_100000"},
		"burst above old quota":   {in: `{"cpu":{"quota":50000,"burst":20000}}`, facts: "cpu.max=10000 100000", want: "cpu.max=50000_100000 cpu.max.burst=20000"},
		"burst below old quota":   {in: `{"cpu":{"quota":5000,"burst":2000}}`, facts: "cpu.max=10000 100000", want: "cpu.max.burst=2000 cpu.max=5000_100000"},
		"burst zero":              {in: `{"cpu":{"burst":0}}`, want: "cpu.max.burst=0"},
		"idle":                    {in: `{"cpu":{"idle":1,"shares":512}}`, want: "cpu.weight=59 cpu.idle=1"},
		"no longer idle":          {in: `{"cpu":{"idle":0,"shares":512}}`, want: "cpu.idle=0 cpu.weight=59"},
		"cpuset":                  {in: `{"cpu":{"cpus":"0-3,7","mems":"0"}}`, want: "cpuset.cpus=0-3,7 cpuset.mems=0"},
		"pids":                    {in: `{"pids":{"limit":32771}}`, want: "pids.max=32771"},
		"pids without limit":      {in: `{"pids":{"limit":-1}}`, want: "pids.max=max"},
		"pids zero":               {in: `{"pids":{"limit":0}}`, want: "pids.max=1"},
		"io weight":               {in: `{"blockIO":{"weight":10}}`, want: "io.weight=1"},
		"io weight, highest":      {in: `{"blockIO":{"weight":1000}}`, want: "io.weight=10000"},
		"io weight, middle":       {in: `{"blockIO":{"weight":500}}`, want: "io.weight=4950"},
		"io weight, bfq":          {in: `{"blockIO":{"weight":500}}`, facts: "io.bfq.weight=default 100;io.weight=default 100", want: "io.bfq.weight=500"},
		"io weight of a device":   {in: `{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":500}]}}`, facts: "io.bfq.weight=100", want: "io.bfq.weight=8:0_500"},
		"device weight, no bfq":   {in: `{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":500}]}}`, facts: "io.weight=default 100", want: "io.weight=8:0_4950"}, // runc: nothing; crun: error
		"io rates":                {in: `{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":16,"rate":600},{"major":8,"minor":0,"rate":1}],"throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":300}]}}`, want: "io.max=8:0_rbps=1 io.max=8:16_rbps=600_wiops=300"},
		"io rates, other two":     {in: `{"blockIO":{"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":5}],"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":6}]}}`, want: "io.max=8:0_wbps=5_riops=6"},
		"io rate zero":            {in: `{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":0}]}}`, want: "io.max=8:0_rbps=max"},
		"huge pages":              {in: `{"hugepageLimits":[{"pageSize":"2MB","limit":9007199254740991},{"pageSize":"1GB","limit":0}]}`, want: "hugetlb.2MB.max=9007199254740991 hugetlb.2MB.rsvd.max=9007199254740991 hugetlb.1GB.max=0 hugetlb.1GB.rsvd.max=0"},
		"huge pages, old kernel":  {in: `{"hugepageLimits":[{"pageSize":"2MB","limit":5}]}`, facts: "hugetlb.2MB.max=max", want: "hugetlb.2MB.max=5"},
		"rdma":                    {in: `{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"mlx4_0":{"hcaObjects":1}}}`, want: "rdma.max=mlx4_0_hca_object=1 rdma.max=mlx5_1_hca_handle=3_hca_object=10000"},
		"rdma of nothing":         {in: `{"rdma":{"mlx5_1":{}}}`},
		"unified":                 {in: `{"unified":{"memory.high":"100M","cgroup.max.depth":"3","io.max":"8:0 rbps=1\n8:16 wbps=2\n"}}`, want: "cgroup.max.depth=3 io.max=8:0_rbps=1 io.max=8:16_wbps=2 memory.high=100M"},
		"unified, new controller": {in: `{"unified":{"dmem.max":"x"}}`, want: "dmem.max=x"},
		"unified, the same again": {in: `{"memory":{"limit":100},"unified":{"memory.max":"100"}}`, want: "memory.max=100 memory.max=100"},
		"unified, empty":          {in: `{"unified":{"memory.high":""}}`},
		"no network":              {in: `{"network":{"classID":0,"priorities":[]}}`},
		"devices are no files":    {in: `{"devices":[{"allow":false,"access":"rwm"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := Files(parseResources(t, tt.in), textFacts(tt.facts))
			must(t, err)
			var got []string
			for _, f := range files {
				got = append(got, f.Name+"="+strings.ReplaceAll(f.Value, " ", "_"))
				if !strings.HasPrefix(f.Field, "linux.resources.") {
					t.Errorf("%s has the field %q", f.Name, f.Field)
				}
			}
			if g := strings.Join(got, " "); g != tt.want {
				t.Errorf("\n got %s\nwant %s", g, tt.want)
			}
		})
	}
}

func TestFilesRefuse(t *testing.T) {
	for name, tt := range map[string]struct {
		in, facts string
		field     string
		word      string
		kind      error
	}{
		"negative memory":       {in: `{"memory":{"limit":-2}}`, field: "memory.limit", word: "minimum is 0", kind: ErrBadRequest},
		"negative reservation":  {in: `{"memory":{"reservation":-5}}`, field: "memory.reservation", word: "minimum is 0", kind: ErrBadRequest},
		"negative swap":         {in: `{"memory":{"limit":5,"swap":-5}}`, field: "memory.swap", word: "minimum is 0", kind: ErrBadRequest},
		"swap below memory":     {in: `{"memory":{"limit":100,"swap":99}}`, field: "memory.swap", word: "minimum is memory.limit, 100", kind: ErrBadRequest},
		"swap alone":            {in: `{"memory":{"swap":99}}`, field: "memory.swap", word: "needs memory.limit", kind: ErrBadRequest},
		"swap alone, unlimited": {in: `{"memory":{"swap":99}}`, facts: "memory.max=max", field: "memory.swap", word: "needs memory.limit", kind: ErrBadRequest},
		"swap not counted":      {in: `{"memory":{"limit":100,"swap":100}}`, facts: "memory.max=max", field: "memory.swap", word: "swapaccount", kind: ErrUnsupported},
		"kernel memory":         {in: `{"memory":{"kernel":5}}`, field: "memory.kernel", kind: ErrUnsupported},
		"TCP memory":            {in: `{"memory":{"kernelTCP":5}}`, field: "memory.kernelTCP", kind: ErrUnsupported},
		"swappiness":            {in: `{"memory":{"swappiness":0}}`, field: "memory.swappiness", kind: ErrUnsupported},
		"no OOM killer":         {in: `{"memory":{"disableOOMKiller":true}}`, field: "memory.disableOOMKiller", kind: ErrUnsupported},
		"no hierarchy":          {in: `{"memory":{"useHierarchy":false}}`, field: "memory.useHierarchy", kind: ErrUnsupported},
		"check":                 {in: `{"memory":{"limit":100,"checkBeforeUpdate":true}}`, facts: "memory.current=100", field: "memory.limit", word: "uses 100", kind: ErrBadRequest},
		"check swap":            {in: `{"memory":{"limit":200,"swap":200,"checkBeforeUpdate":true}}`, facts: "swapless memory.current=300", field: "memory.limit", kind: ErrBadRequest},
		"rt runtime":            {in: `{"cpu":{"realtimeRuntime":950000}}`, field: "cpu.realtimeRuntime", kind: ErrUnsupported},
		"rt period":             {in: `{"cpu":{"realtimePeriod":1000000}}`, field: "cpu.realtimePeriod", kind: ErrUnsupported},
		"idle":                  {in: `{"cpu":{"idle":2}}`, field: "cpu.idle", word: "0 or 1", kind: ErrBadRequest},
		"quota":                 {in: `{"cpu":{"quota":999}}`, field: "cpu.quota", word: "minimum is 1000", kind: ErrBadRequest},
		"short period":          {in: `{"cpu":{"period":999}}`, field: "cpu.period", word: "minimum is 1000", kind: ErrBadRequest},
		"long period":           {in: `{"cpu":{"period":1000001}}`, field: "cpu.period", word: "maximum 1000000", kind: ErrBadRequest},
		"burst":                 {in: `{"cpu":{"quota":5000,"burst":5001}}`, field: "cpu.burst", word: "maximum is cpu.quota, 5000", kind: ErrBadRequest},
		"cpus":                  {in: `{"cpu":{"cpus":"0-x"}}`, field: "cpu.cpus", kind: ErrBadRequest},
		"cpus backwards":        {in: `{"cpu":{"cpus":"3-1"}}`, field: "cpu.cpus", kind: ErrBadRequest},
		"mems":                  {in: `{"cpu":{"mems":"0,,1"}}`, field: "cpu.mems", kind: ErrBadRequest},
		"pids":                  {in: `{"pids":{"limit":-2}}`, field: "pids.limit", word: "minimum", kind: ErrBadRequest},
		"io weight":             {in: `{"blockIO":{"weight":9}}`, field: "blockIO.weight", word: "minimum is 10", kind: ErrBadRequest},
		"io weight, high":       {in: `{"blockIO":{"weight":1001}}`, field: "blockIO.weight", word: "maximum 1000", kind: ErrBadRequest},
		"no io weight":          {in: `{"blockIO":{"weight":100}}`, facts: "cgroup.controllers=cpu io;io.max=", field: "blockIO.weight", word: "IOCOST", kind: ErrUnsupported},
		"leaf weight":           {in: `{"blockIO":{"leafWeight":100}}`, field: "blockIO.leafWeight", kind: ErrUnsupported},
		"leaf weight, device":   {in: `{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":300}]}}`, field: "blockIO.weightDevice[0].leafWeight", kind: ErrUnsupported},
		"device, no weight":     {in: `{"blockIO":{"weightDevice":[{"major":8,"minor":0}]}}`, field: "blockIO.weightDevice[0].weight", kind: ErrBadRequest},
		"device":                {in: `{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1},{"major":-8,"minor":0,"rate":1}]}}`, field: "blockIO.throttleReadBpsDevice[1]", kind: ErrBadRequest},
		"huge page":             {in: `{"hugepageLimits":[{"pageSize":"2","limit":1}]}`, field: "hugepageLimits[0].pageSize", kind: ErrBadRequest},
		"huge page with path":   {in: `{"hugepageLimits":[{"pageSize":"../2MB","limit":1}]}`, field: "hugepageLimits[0].pageSize", kind: ErrBadRequest},
		"huge page, none":       {in: `{"hugepageLimits":[{"pageSize":"64KB","limit":1}]}`, facts: "hugetlb.2MB.max=max", field: "hugepageLimits[0].pageSize", kind: ErrUnsupported},
		"rdma":                  {in: `{"rdma":{"a b":{"hcaHandles":1}}}`, field: "rdma.a b", kind: ErrBadRequest},
		"net class":             {in: `{"network":{"classID":1048577}}`, field: "network.classID", kind: ErrUnsupported},
		"net priorities":        {in: `{"network":{"priorities":[{"name":"eth0","priority":5}]}}`, field: "network.priorities", kind: ErrUnsupported},
		"unified, path":         {in: `{"unified":{"../x.y":"1"}}`, field: `unified["../x.y"]`, kind: ErrBadRequest},
		"unified, no dot":       {in: `{"unified":{"memory":"1"}}`, field: `unified["memory"]`, kind: ErrBadRequest},
		"unified, procs":        {in: `{"unified":{"cgroup.procs":"0"}}`, field: `unified["cgroup.procs"]`, kind: ErrUnsupported},
		"unified, freeze":       {in: `{"unified":{"cgroup.freeze":"1"}}`, field: `unified["cgroup.freeze"]`, kind: ErrUnsupported},
		"unified, conflict":     {in: `{"memory":{"limit":100},"unified":{"memory.max":"200"}}`, field: `unified["memory.max"]`, word: "linux.resources.memory.limit", kind: ErrBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := Files(parseResources(t, tt.in), textFacts(tt.facts))
			var field *FieldError
			if !errors.As(err, &field) || !errors.Is(err, tt.kind) || field.Field != "linux.resources."+tt.field || !strings.Contains(err.Error(), tt.word) {
				t.Errorf("%v, %v; want %s: … %s …", files, err, tt.field, tt.word)
			}
		})
	}
}

func TestWeight(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 1, 1: 1, 2: 1, 10: 4, 100: 17, 512: 59, 1024: 100, 2048: 174, 8192: 532, 262143: 10000, 262144: 10000, 1 << 40: 10000} {
		if got := Weight(shares); got != want {
			t.Errorf("%d shares are a weight of %d, want %d", shares, got, want)
		}
	}
	last := uint64(0)
	for s := range uint64(262145) {
		w := Weight(s)
		if w < last || w < 1 || w > 10000 {
			t.Fatalf("weight of %d is %d, of one less %d", s, w, last)
		}
		last = w
	}
}

func FuzzFiles(f *testing.F) {
	f.Add(`{"memory":{"limit":1,"swap":2},"cpu":{"quota":1000,"cpus":"0-3"},"unified":{"a.b":"c\nd"},"hugepageLimits":[{"pageSize":"2MB"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var r specs.LinuxResources
		if json.Unmarshal([]byte(text), &r) != nil {
			return
		}
		files, err := Files(&r, Facts{})
		if err != nil {
			return
		}
		for _, f := range files {
			if strings.ContainsAny(f.Name, "/\x00") || f.Name == "." || f.Name == ".." || strings.Contains(f.Value, "\n") || f.Value == "" {
				t.Errorf("%s", fmt.Sprintf("%q of %q", f.Value, f.Name))
			}
		}
	})
}
