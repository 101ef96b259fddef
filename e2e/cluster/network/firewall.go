package network

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// ensureMasquerade lets pods reach the world with the machine's address.
func (n Network) ensureMasquerade() (bool, error) {
	if table, err := output("nft", "list", "table", "ip", n.Name); err == nil {
		if strings.Contains(table, n.Pods.String()) {
			return false, nil
		}
	}
	command := exec.Command("nft", "-f", "-")
	command.Stdin = strings.NewReader(n.masquerade())
	if out, err := command.CombinedOutput(); err != nil {
		return false, fmt.Errorf("nftables table %s: %w: %s", n.Name, err, strings.TrimSpace(string(out)))
	}
	return true, nil
}

// masquerade replaces the table by its rules, in one transaction.
func (n Network) masquerade() string {
	return fmt.Sprintf(`table ip %[1]s
delete table ip %[1]s
table ip %[1]s {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr %[2]s ip daddr != %[2]s oifname != "%[1]s" masquerade
	}
}
`, n.Name, n.Pods)
}

// ensureForward lets the pods' packets pass where somebody, most often a Docker
// engine, has set the machine to forward nothing.
func (n Network) ensureForward() (bool, error) {
	if !hasForwardChain() {
		return false, nil
	}
	rules, err := output("iptables", "-S", "FORWARD")
	if err != nil {
		return false, err
	}
	if !strings.Contains(rules, "-P FORWARD DROP") {
		return false, nil
	}
	changed := false
	for _, rule := range n.forwardRules() {
		if run("iptables", append([]string{"-C"}, rule...)...) == nil {
			continue
		}
		if err := run("iptables", append([]string{"-I"}, rule...)...); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

func (n Network) removeForward() {
	if !hasForwardChain() {
		return
	}
	for _, rule := range n.forwardRules() {
		// It fails when there is no such rule, which is what is wanted.
		_ = run("iptables", append([]string{"-D"}, rule...)...)
	}
}

// RemoveProxyTables deletes the service rules of kube-proxy. They have the same
// name for every cluster, so no other kube-proxy may be working on this machine.
func RemoveProxyTables() error {
	return errors.Join(deleteTable("ip", "kube-proxy"), deleteTable("ip6", "kube-proxy"))
}

func (n Network) forwardRules() [][]string {
	return [][]string{
		{"FORWARD", "-i", n.Name, "-j", "ACCEPT"},
		{"FORWARD", "-o", n.Name, "-j", "ACCEPT"},
	}
}

// hasForwardChain tells whether anybody has iptables rules on forwarding,
// without making the tables that asking iptables itself would make.
func hasForwardChain() bool {
	if run("nft", "list", "chain", "ip", "filter", "FORWARD") == nil {
		return true
	}
	names, err := os.ReadFile("/proc/net/ip_tables_names")
	return err == nil && strings.Contains(string(names), "filter")
}

func deleteTable(family, name string) error {
	if run("nft", "list", "table", family, name) != nil {
		return nil
	}
	return run("nft", "delete", "table", family, name)
}
