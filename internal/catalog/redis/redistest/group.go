package redistest

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Replicated is a master with a replica and three sentinels.
type Replicated struct {
	Master, Replica *Server
	Sentinels       []*Server
}

// MasterName is what the sentinels call the master.
const MasterName = "edge-test"

// StartSentinel starts a master, its replica and the sentinels that watch them.
func StartSentinel(t testing.TB) *Replicated {
	t.Helper()
	// The default waits 5 s before it sends the first copy, for more replicas.
	master := Start(t, "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
	host, port, _ := net.SplitHostPort(master.Addr)
	r := &Replicated{
		Master:  master,
		Replica: Start(t, "--replicaof", host, port, "--repl-diskless-sync-delay", "0"),
	}
	Eventually(t, "the replica is linked", func() bool {
		return infoField(r.Replica.Must("INFO", "replication"), "master_link_status") == "up"
	})
	r.Sentinels = make([]*Server, 3)
	var all sync.WaitGroup
	for i := range r.Sentinels {
		s := start(t, "redis-sentinel")
		s.Must("SENTINEL", "MONITOR", MasterName, host, port, "2")
		s.Must("SENTINEL", "SET", MasterName, "down-after-milliseconds", "500", "failover-timeout", "3000")
		r.Sentinels[i] = s
		all.Go(func() {
			Eventually(t, "a sentinel knows the replica and the others", func() bool {
				state := "\n" + s.Must("SENTINEL", "MASTER", MasterName) + "\n"
				return strings.Contains(state, "\nnum-slaves\n1\n") && strings.Contains(state, "\nnum-other-sentinels\n2\n")
			})
		})
	}
	all.Wait()
	return r
}

// URL is the sentinels for redis.Parse.
func (r *Replicated) URL() string { return "redis+sentinel://" + addrs(r.Sentinels) + "/" + MasterName }

// FailOver kills the master and waits until the sentinels have made the
// replica the new one.
func (r *Replicated) FailOver(t testing.TB) {
	t.Helper()
	r.Master.Kill()
	Eventually(t, "the replica is the master", func() bool {
		// Sentinel cuts the connections of a server that it promotes.
		info, err := r.Replica.Do("INFO", "replication")
		if err != nil || infoField(info, "role") != "master" {
			return false
		}
		for _, s := range r.Sentinels {
			master, err := s.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName)
			_, port, ok := strings.Cut(master, "\n")
			if err != nil || !ok || !strings.HasSuffix(r.Replica.Addr, ":"+port) {
				return false
			}
		}
		return true
	})
}

// Nodes are the servers of a cluster.
type Nodes []*Server

// slots of a cluster.
const slots = 16384

// StartCluster starts a cluster of three masters.
func StartCluster(t testing.TB) Nodes {
	t.Helper()
	var n Nodes
	for range 3 {
		n = append(n, startNode(t))
	}
	for i, s := range n {
		s.Must("CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
		s.Must("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(i*slots/len(n)), fmt.Sprint((i+1)*slots/len(n)-1))
		for _, other := range n[:i] {
			s.meet(other)
		}
	}
	for _, s := range n {
		Eventually(t, "a node finds the cluster whole", func() bool {
			info := s.Must("CLUSTER", "INFO")
			return infoField(info, "cluster_state") == "ok" && infoField(info, "cluster_known_nodes") == "3"
		})
	}
	return n
}

func startNode(t testing.TB) *Server {
	t.Helper()
	// The default port of the bus, 10000 above, may be taken.
	return Start(t, "--cluster-enabled", "yes", "--cluster-port", freePort(t), "--cluster-node-timeout", "1000",
		"--cluster-config-file", "nodes.conf", "--repl-diskless-sync-delay", "0")
}

func (s *Server) meet(other *Server) {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(other.Addr)
	s.Must("CLUSTER", "MEET", host, port, strings.TrimSpace(other.configured("cluster-port")))
}

// AddReplica gives the i-th master a replica.
func (n Nodes) AddReplica(t testing.TB, i int) {
	t.Helper()
	replica := startNode(t)
	replica.meet(n[i])
	Eventually(t, "a new node is known", func() bool {
		_, err := replica.Do("CLUSTER", "REPLICATE", n[i].Must("CLUSTER", "MYID"))
		return err == nil
	})
	Eventually(t, "a master has its replica, and all know it", func() bool {
		known := infoField(n[i].Must("INFO", "replication"), "connected_slaves") == "1"
		for _, s := range n {
			known = known && strings.Contains(s.Must("CLUSTER", "NODES"), " slave "+n[i].Must("CLUSTER", "MYID"))
		}
		return known && infoField(replica.Must("INFO", "replication"), "master_link_status") == "up"
	})
}

// MoveSlot gives the slot of a key, which must hold nothing, to another master.
func (n Nodes) MoveSlot(t testing.TB, key string, from, to int) {
	t.Helper()
	slot, id := n[0].Must("CLUSTER", "KEYSLOT", key), n[to].Must("CLUSTER", "MYID")
	for _, s := range []*Server{n[to], n[from]} {
		s.Must("CLUSTER", "SETSLOT", slot, "NODE", id)
	}
}

// Owns tells whether the i-th master of a new cluster has the slot of a key.
func (n Nodes) Owns(i int, key string) bool {
	slot, err := strconv.Atoi(n[0].Must("CLUSTER", "KEYSLOT", key))
	return err == nil && slot >= i*slots/len(n) && slot < (i+1)*slots/len(n)
}

// configured is a setting's value.
func (s *Server) configured(name string) string {
	s.t.Helper()
	_, value, _ := strings.Cut(s.Must("CONFIG", "GET", name), "\n")
	return value
}

// URL is the cluster for redis.Parse.
func (n Nodes) URL() string { return "redis+cluster://" + addrs(n) }

func addrs(servers []*Server) string {
	list := make([]string, len(servers))
	for i, s := range servers {
		list[i] = s.Addr
	}
	return strings.Join(list, ",")
}
