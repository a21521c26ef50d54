// Package all is the table of kinds of destinations.
package all

import (
	"strings"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/kafka"
	"github.com/waltrigger/waltrigger/pkg/sink/lambda"
	"github.com/waltrigger/waltrigger/pkg/sink/mqtt"
	"github.com/waltrigger/waltrigger/pkg/sink/nats"
	"github.com/waltrigger/waltrigger/pkg/sink/pubsub"
	"github.com/waltrigger/waltrigger/pkg/sink/rabbitmq"
	"github.com/waltrigger/waltrigger/pkg/sink/redis"
	"github.com/waltrigger/waltrigger/pkg/sink/sns"
	"github.com/waltrigger/waltrigger/pkg/sink/sqs"
	"github.com/waltrigger/waltrigger/pkg/sink/webhook"
)

// Kinds has one line for each kind.
var Kinds = []sink.Kind{
	webhook.Kind,
	kafka.Kind,
	rabbitmq.Kind,
	redis.Kind,
	nats.Kind,
	mqtt.Kind,
	sqs.Kind,
	sns.Kind,
	pubsub.Kind,
	lambda.Kind,
}

// Find returns the kind of that name, in any case.
func Find(name string) (sink.Kind, bool) {
	for _, k := range Kinds {
		if strings.EqualFold(k.Name, name) {
			return k, true
		}
	}
	return sink.Kind{}, false
}
