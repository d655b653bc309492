package spec

import (
	"reflect"
	"testing"
)

// TestLimitsChange: what an update writes is what differs; what is lifted gets
// the kernel's default.
func TestLimitsChange(t *testing.T) {
	for _, tt := range []struct {
		name       string
		old, typed Limits
		want       string // "" for nothing to write, ! for an error
	}{
		{"nothing new", Limits{Memory: "64m", PidsLimit: "10"}, Limits{Memory: "64m"}, ""},
		{"memory and its swap", Limits{}, Limits{Memory: "64m"}, `{"memory":{"limit":67108864,"swap":134217728}}`},
		{"more memory", Limits{Memory: "64m"}, Limits{Memory: "1g"}, `{"memory":{"limit":1073741824,"swap":2147483648}}`},
		{"more memory than the swap that was typed", Limits{Memory: "64m", MemorySwap: "128m"}, Limits{Memory: "1g"}, "!"},
		{"both", Limits{Memory: "64m", MemorySwap: "128m"}, Limits{Memory: "1g", MemorySwap: "2g"}, `{"memory":{"limit":1073741824,"swap":2147483648}}`},
		{"less memory, the same in all", Limits{Memory: "64m", MemorySwap: "128m"}, Limits{Memory: "32m"}, `{"memory":{"limit":33554432,"swap":134217728}}`},
		{"swap alone", Limits{Memory: "64m"}, Limits{MemorySwap: "64m"}, `{"memory":{"limit":67108864,"swap":67108864}}`},
		{"swap without memory", Limits{}, Limits{MemorySwap: "64m"}, "!"},
		{"any swap", Limits{Memory: "64m"}, Limits{MemorySwap: "-1"}, `{"memory":{"swap":-1}}`},
		{"memory lifted", Limits{Memory: "64m", MemorySwap: "64m"}, Limits{Memory: "-1"}, `{"memory":{"limit":-1,"swap":-1}}`},
		{"reservation lifted", Limits{MemoryReservation: "64m"}, Limits{MemoryReservation: "0"}, `{"unified":{"memory.low":"0"}}`},
		{"high", Limits{}, Limits{MemoryHigh: "64m"}, `{"unified":{"memory.high":"67108864"}}`},
		{"high lifted", Limits{MemoryHigh: "64m"}, Limits{MemoryHigh: "-1"}, `{"unified":{"memory.high":"max"}}`},
		{"cpus", Limits{CPUs: "1"}, Limits{CPUs: "2"}, `{"cpu":{"quota":200000}}`},
		{"cpus for a quota", Limits{CPUQuota: "5000", CPUPeriod: "10000"}, Limits{CPUs: "2"}, `{"cpu":{"quota":200000,"period":100000}}`},
		{"a quota for cpus", Limits{CPUs: "2"}, Limits{CPUQuota: "5000"}, `{"cpu":{"quota":5000,"period":100000}}`},
		{"cpus lifted", Limits{CPUs: "2"}, Limits{CPUs: "0"}, `{"cpu":{"quota":-1,"period":100000}}`},
		{"shares", Limits{CPUShares: "512"}, Limits{CPUShares: "0"}, `{"cpu":{"shares":1024}}`},
		{"sets", Limits{CPUSetCPUs: "0"}, Limits{CPUSetCPUs: "0-1"}, `{"cpu":{"cpus":"0-1"}}`},
		{"pids", Limits{}, Limits{PidsLimit: "10"}, `{"pids":{"limit":10}}`},
		{"pids lifted", Limits{}, Limits{PidsLimit: "-1"}, `{"pids":{"limit":-1}}`},
		{"block I/O weight", Limits{BlkioWeight: "200"}, Limits{BlkioWeight: "0"}, `{"unified":{"io.weight":"default 100"}}`},
		{"a rate", Limits{DeviceReadBps: []string{"/dev/sda:1"}}, Limits{DeviceReadBps: []string{"/dev/sda:2"}}, `{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":2}]}}`},
		{"not a number", Limits{}, Limits{PidsLimit: "x"}, "!"},
	} {
		now := tt.old.Update(tt.typed)
		asked, implied, err := tt.old.Resources(disks{})
		if err != nil {
			t.Fatal(err)
		}
		nowAsked, nowImplied, err := now.Resources(disks{})
		got := "!"
		if err == nil {
			got = limitsJSON(changes(WithImplied(asked, implied), WithImplied(nowAsked, nowImplied)))
		}
		if got != tt.want {
			t.Errorf("%s:\n\tgot  %s\n\twant %s (%v)", tt.name, got, tt.want, err)
		}
	}
}

// TestThrottleLifted: a device that is no longer in the list gets no rate.
func TestThrottleLifted(t *testing.T) {
	old, _, err := Limits{DeviceReadBps: []string{"/dev/sda:1"}, BlkioWeightDevice: []string{"/dev/sda:100"}, BlkioWeight: "100"}.Resources(disks{})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":0}]},"unified":{"io.weight":"8:0 default\ndefault 100"}}`
	if got := limitsJSON(changes(old, nil)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestUpdateTakesEveryLimit fails when Limits gets a field that Update forgets.
func TestUpdateTakesEveryLimit(t *testing.T) {
	typ := reflect.TypeFor[Limits]()
	for i := range typ.NumField() {
		var typed Limits
		f := reflect.ValueOf(&typed).Elem().Field(i)
		if f.Kind() == reflect.String {
			f.SetString("7")
		} else {
			f.Set(reflect.ValueOf([]string{"7"}))
		}
		if now := (Limits{}).Update(typed); !reflect.DeepEqual(now, typed) {
			t.Errorf("%s: %+v", typ.Field(i).Name, now)
		}
	}
}
