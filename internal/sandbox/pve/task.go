package pve

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// upid names a task: UPID:{node}:{pid}:{pstart}:{starttime}:{type}:{id}:{user}:
type upid struct {
	node, kind string
	text       string
}

// parseUPID reads a task's name.
func parseUPID(text string) (upid, error) {
	part := strings.Split(text, ":")
	if len(part) != 9 || part[0] != "UPID" || part[1] == "" || part[5] == "" || part[8] != "" || strings.ContainsAny(part[1], "/?#%") {
		return upid{}, garbage(fmt.Sprintf("%.80q is no task", text))
	}
	return upid{node: part[1], kind: part[5], text: text}, nil
}

// maxMissed is how many looks at a task in a row may fail before the outcome
// counts as unknown.
const maxMissed = 3

// wait waits for a task to end, and returns how it failed.
func (c *Client) wait(ctx context.Context, id upid) error {
	path := "/nodes/" + id.node + "/tasks/" + url.PathEscape(id.text) + "/status"
	begun, missed := time.Now(), 0
	for {
		var task struct {
			Status     string `json:"status"`
			ExitStatus string `json:"exitstatus"`
		}
		err := c.get(ctx, path, nil, &task)
		switch {
		case err == nil && task.Status == "stopped":
			return outcome(id, task.ExitStatus)
		case err == nil && task.Status != "running":
			err = garbage(fmt.Sprintf("a task's status is %.40q", task.Status))
		}
		missed++
		if err == nil {
			missed = 0
		} else if f := failure(err); gaveUp(err) || missed == maxMissed || f.Status != 0 && f.Status < http.StatusInternalServerError {
			f.Lost = true
			f.Text = "task " + id.kind + ": " + f.Text
			return f
		}
		if time.Since(begun) > c.cfg.TaskTimeout {
			return &Failure{Text: fmt.Sprintf("task %s still runs after %s", id.kind, c.cfg.TaskTimeout), Lost: true}
		}
		if err := c.pause(ctx); err != nil {
			return err
		}
	}
}

// outcome reads a task's exit status. A worker that died without a last line
// may have done its work.
func outcome(id upid, exit string) error {
	if exit == "OK" || strings.HasPrefix(exit, "WARNINGS: ") {
		return nil
	}
	f := &Failure{Text: exit}
	f.Lost = exit == "" || exit == "unexpected status" || exit == "received interrupt" || strings.HasPrefix(exit, "unable to get last line")
	if f.Lost {
		f.Text = "task " + id.kind + " ended without a result: " + exit
	}
	return f
}

// active are the tasks of some types that run on a node, for a guest where
// vmid is not 0. Those of other users are seen only with Sys.Audit.
func (c *Client) active(ctx context.Context, node string, vmid int, types ...string) ([]upid, error) {
	query := url.Values{"source": {"active"}}
	if vmid != 0 {
		query.Set("vmid", strconv.Itoa(vmid))
	}
	var list []struct {
		UPID   string `json:"upid"`
		Status string `json:"status"`
	}
	if err := c.get(ctx, "/nodes/"+node+"/tasks", query, &list); err != nil {
		return nil, err
	}
	var running []upid
	for _, t := range list {
		id, err := parseUPID(t.UPID)
		if err != nil {
			return nil, err
		}
		if (t.Status == "" || t.Status == "RUNNING") && (len(types) == 0 || slices.Contains(types, id.kind)) {
			running = append(running, id)
		}
	}
	return running, nil
}
