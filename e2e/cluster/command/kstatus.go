package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// newKstatus gives tests the very computation by which Flux decides whether an object
// is healthy; Helm brings it along. It needs no cluster.
func newKstatus() *cobra.Command {
	return &cobra.Command{
		Use:   "kstatus",
		Short: "Say of objects what Flux says: InProgress, Current, Failed, Terminating",
		Long: "kstatus reads objects from standard input, as `kubectl get -o json` prints them, one or a list,\n" +
			"and prints for each its status as kstatus computes it, its name and the reason, parted by tabs.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return kstatus(command.InOrStdin(), command.OutOrStdout())
		},
	}
}

func kstatus(in io.Reader, out io.Writer) error {
	decoder := json.NewDecoder(in)
	for {
		var document json.RawMessage
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("standard input is not JSON: %w", err)
		}
		object := &unstructured.Unstructured{}
		if err = object.UnmarshalJSON(document); err != nil {
			return err
		}
		each := func(found *unstructured.Unstructured) error { return printStatus(found, out) }
		if object.IsList() {
			err = object.EachListItem(func(item runtime.Object) error { return each(item.(*unstructured.Unstructured)) })
		} else {
			err = each(object)
		}
		if err != nil {
			return err
		}
	}
}

func printStatus(object *unstructured.Unstructured, out io.Writer) error {
	result, err := status.Compute(object)
	if err != nil {
		return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
	}
	_, err = fmt.Fprintf(out, "%s\t%s\t%s\n", result.Status, object.GetName(), result.Message)
	return err
}
