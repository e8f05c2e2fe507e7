package webhook_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/webhook"
)

func Example() {
	told := make(chan string, 1)
	plane := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		told <- string(body)
	}))
	defer plane.Close()

	sender := webhook.New(webhook.Config{
		URL:    func() string { return plane.URL },
		Secret: func() string { return "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" },
	}, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	sender.Enqueue(context.Background(), webhook.Message{
		Type: webhook.Resumed, ID: "morphvm_1", Slug: "blue", Provider: "morph", Generation: 7,
		Time: time.Now(), Reason: "traffic",
	})

	ctx, cancel := context.WithCancel(context.Background())
	cancel() // what is due is delivered all the same
	_ = sender.Run(ctx)
	fmt.Println((<-told)[:25])
	// Output: {"type":"sandbox.resumed"
}
