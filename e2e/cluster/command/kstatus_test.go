package command

import (
	"strings"
	"testing"
)

func TestObjectsHaveTheStatusThatFluxGivesThem(t *testing.T) {
	object := func(name, conditions string) string {
		return `{"apiVersion":"lodge.dev/v1alpha1","kind":"Workspace","metadata":{"name":"` + name +
			`","generation":2},"status":{"observedGeneration":2,"conditions":[` + conditions + `]}}`
	}
	ready := `{"type":"Ready","status":"True","reason":"R","message":"m"}`
	stalled := `{"type":"Ready","status":"False","reason":"R","message":"m"},{"type":"Stalled","status":"True","reason":"R","message":"bad"}`
	list := `{"apiVersion":"v1","kind":"List","items":[` + object("ada", ready) + "," + object("bob", stalled) + "]}"
	behind := strings.Replace(object("eve", ready), `"observedGeneration":2`, `"observedGeneration":1`, 1)
	var out strings.Builder
	if err := kstatus(strings.NewReader(list+behind), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{"Current\tada\t", "Failed\tbob\tbad", "InProgress\teve\t"} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d of %q does not begin with %q", i, lines, want)
		}
	}
}

func TestWhatIsNoJSONIsRefused(t *testing.T) {
	if err := kstatus(strings.NewReader("{"), &strings.Builder{}); err == nil {
		t.Error("half an object was taken")
	}
}
