package kafka

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/IBM/sarama"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

const (
	codeTooLarge = "too_large"
	codeTopic    = "unknown_topic"
	codeAuth     = "not_authorized"
)

// ofOneMessage tells errors that one message of a batch brings upon all.
func ofOneMessage(err sarama.KError) bool {
	switch err {
	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge, sarama.ErrInvalidMessageSize, sarama.ErrInvalidMessage,
		sarama.ErrInvalidRecord, sarama.ErrInvalidTimestamp:
		return true
	}
	return false
}

// code finds the broker's error code in err. sarama wraps some so that errors.Is finds
// them and errors.As does not.
func code(err error) (sarama.KError, bool) {
	var k sarama.KError
	if errors.As(err, &k) {
		return k, true
	}
	for k = sarama.ErrUnknown; k < 200; k++ {
		if k != sarama.ErrNoError && errors.Is(err, k) {
			return k, true
		}
	}
	return 0, false
}

// passing tells errors that the same batch may outlive.
func passing(err error) bool {
	k, ok := code(err)
	if !ok {
		var ne net.Error
		return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &ne) && !ne.Timeout() ||
			errors.Is(err, sarama.ErrNotConnected) || errors.Is(err, sarama.ErrIncompleteResponse)
	}
	switch k {
	case sarama.ErrNotLeaderForPartition, sarama.ErrLeaderNotAvailable, sarama.ErrNetworkException, sarama.ErrReplicaNotAvailable,
		sarama.ErrNotEnoughReplicas, sarama.ErrNotEnoughReplicasAfterAppend, sarama.ErrRequestTimedOut, sarama.ErrKafkaStorageError,
		sarama.ErrFencedLeaderEpoch, sarama.ErrUnknownLeaderEpoch, sarama.ErrUnknownTopicOrPartition:
		return true
	}
	return false
}

// classify says what an error means for the message.
func classify(err error) *sink.Error {
	var blocked interface{ Blocked() bool }
	if errors.As(err, &blocked) && blocked.Blocked() {
		return sink.Network(err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return sink.Network(err)
	}
	e := &sink.Error{Class: sink.Unavailable, Err: err}
	k, ok := code(err)
	if !ok {
		var ce sarama.ConfigurationError
		if errors.As(err, &ce) {
			e.Class, e.Code = sink.Misconfigured, details.CodeConfig
			return e
		}
		return sink.Network(err)
	}
	switch k {
	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge, sarama.ErrInvalidMessageSize:
		e.Class, e.Code = sink.Permanent, codeTooLarge
	case sarama.ErrInvalidMessage, sarama.ErrInvalidRecord, sarama.ErrInvalidTimestamp:
		e.Class, e.Code = sink.Permanent, "record_invalid"
	case sarama.ErrUnknownTopicOrPartition, sarama.ErrInvalidTopic:
		e.Class, e.Code = sink.Misconfigured, codeTopic
	case sarama.ErrTopicAuthorizationFailed, sarama.ErrClusterAuthorizationFailed, sarama.ErrSASLAuthenticationFailed,
		sarama.ErrUnsupportedSASLMechanism, sarama.ErrIllegalSASLState:
		e.Class, e.Code = sink.Misconfigured, codeAuth
	case sarama.ErrUnsupportedVersion, sarama.ErrUnsupportedForMessageFormat, sarama.ErrUnsupportedCompressionType, sarama.ErrInvalidRequiredAcks,
		sarama.ErrPolicyViolation:
		e.Class, e.Code = sink.Misconfigured, details.CodeConfig
	case sarama.ErrRequestTimedOut:
		e.Code = sink.CodeTimeout
	default:
		e.Code = "kafka_error"
	}
	return e
}
