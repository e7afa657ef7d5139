// Command librdkafka19 tries librdkafka 1.9.2, which confluent-kafka-go 1.9.2 carries with it, against one broker:
// `librdkafka19 BOOTSTRAP [TEST]`. A line for each test: `PASS SECONDS NAME` or `FAIL SECONDS NAME` with the error below.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/kafka"
)

var bootstrap string

type settings map[string]kafka.ConfigValue

func config(more settings) *kafka.ConfigMap {
	all := kafka.ConfigMap{"bootstrap.servers": bootstrap}
	for key, value := range more {
		all[key] = value
	}
	return &all
}

func fail(format string, arguments ...any) {
	panic(fmt.Errorf(format, arguments...))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func admin() *kafka.AdminClient {
	client, err := kafka.NewAdminClient(config(nil))
	must(err)
	return client
}

func topic(name string, partitions int, more map[string]string) {
	client := admin()
	defer client.Close()
	results, err := client.CreateTopics(context.Background(), []kafka.TopicSpecification{{Topic: name, NumPartitions: partitions, ReplicationFactor: 1, Config: more}})
	must(err)
	if results[0].Error.Code() != kafka.ErrNoError {
		fail("%v", results[0])
	}
}

// send produces count records with value and key from start on, round robin over partitions, and fails unless all are delivered.
func send(name string, start, count, partitions int, more settings) {
	producer, err := kafka.NewProducer(config(more))
	must(err)
	defer producer.Close()
	reports := make(chan kafka.Event, count)
	for n := start; n < start+count; n++ {
		value := []byte(strconv.Itoa(n))
		must(producer.Produce(&kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &name, Partition: int32(n % partitions)}, Key: value, Value: value}, reports))
	}
	for n := 0; n < count; n++ {
		select {
		case event := <-reports:
			must(event.(*kafka.Message).TopicPartition.Error)
		case <-time.After(30 * time.Second):
			fail("%d of %d were delivered", n, count)
		}
	}
}

func consumer(group string, more settings) *kafka.Consumer {
	all := settings{"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": false}
	for key, value := range more {
		all[key] = value
	}
	one, err := kafka.NewConsumer(config(all))
	must(err)
	return one
}

func consume(count int, members ...*kafka.Consumer) []*kafka.Message {
	var got []*kafka.Message
	deadline := time.Now().Add(40 * time.Second)
	for len(got) < count {
		if time.Now().After(deadline) {
			fail("%d of %d within 40 s", len(got), count)
		}
		for _, one := range members {
			switch event := one.Poll(50).(type) {
			case *kafka.Message:
				must(event.TopicPartition.Error)
				got = append(got, event)
			case kafka.Error:
				fail("%v", event)
			}
		}
	}
	return got
}

func expect(got []*kafka.Message, start, end int) {
	var values []int
	for _, message := range got {
		value, err := strconv.Atoi(string(message.Value))
		must(err)
		values = append(values, value)
	}
	sort.Ints(values)
	if len(values) != end-start {
		fail("%d records instead of %d", len(values), end-start)
	}
	for at, value := range values {
		if value != start+at {
			fail("%d where %d should be", value, start+at)
		}
	}
}

func metadata() {
	topic("go-metadata", 3, nil)
	client := admin()
	defer client.Close()
	found, err := client.GetMetadata(nil, true, 20000)
	must(err)
	if len(found.Brokers) != 1 || len(found.Topics["go-metadata"].Partitions) != 3 {
		fail("%+v", found)
	}
	id, err := client.ClusterID(context.Background())
	must(err)
	if id == "" {
		fail("no cluster id")
	}
}

func codecs() {
	topic("go-codecs", 2, nil)
	sent := 0
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		send("go-codecs", sent, 300, 2, settings{"compression.type": codec, "linger.ms": 5})
		sent += 300
	}
	one := consumer("go-codecs", nil)
	defer one.Close()
	must(one.Subscribe("go-codecs", nil))
	expect(consume(sent, one), 0, sent)
}

func headersNullsAndTimes() {
	name := "go-records"
	topic(name, 1, nil)
	producer, err := kafka.NewProducer(config(nil))
	must(err)
	defer producer.Close()
	reports := make(chan kafka.Event, 2)
	at := time.UnixMilli(1700000000000)
	must(producer.Produce(&kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &name, Partition: 0}, Key: []byte("k"), Value: []byte("v"), Timestamp: at,
		Headers: []kafka.Header{{Key: "a", Value: []byte("1")}, {Key: "null", Value: nil}}}, reports))
	must((<-reports).(*kafka.Message).TopicPartition.Error)
	must(producer.Produce(&kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &name, Partition: 0}, Key: []byte("k")}, reports))
	must((<-reports).(*kafka.Message).TopicPartition.Error)
	one := consumer(name, nil)
	defer one.Close()
	must(one.Subscribe(name, nil))
	got := consume(2, one)
	if !got[0].Timestamp.Equal(at) || len(got[0].Headers) != 2 || got[0].Headers[1].Value != nil || got[1].Value != nil {
		fail("%+v %+v", got[0], got[1])
	}
}

func idempotence() {
	topic("go-idempotent", 3, nil)
	send("go-idempotent", 0, 3000, 3, settings{"enable.idempotence": true, "batch.num.messages": 50})
	one := consumer("go-idempotent", nil)
	defer one.Close()
	must(one.Subscribe("go-idempotent", nil))
	expect(consume(3000, one), 0, 3000)
}

func largeRecords() {
	name := "go-large"
	topic(name, 1, map[string]string{"max.message.bytes": "6000000"})
	producer, err := kafka.NewProducer(config(settings{"message.max.bytes": 6000000}))
	must(err)
	defer producer.Close()
	body := bytes.Repeat([]byte("0123456789"), 500000)
	reports := make(chan kafka.Event, 1)
	must(producer.Produce(&kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &name, Partition: 0}, Value: body}, reports))
	must((<-reports).(*kafka.Message).TopicPartition.Error)
	one := consumer(name, settings{"fetch.message.max.bytes": 1000})
	defer one.Close()
	must(one.Subscribe(name, nil))
	if !bytes.Equal(consume(1, one)[0].Value, body) {
		fail("another value came back")
	}
}

func share(strategy string) {
	name := "go-" + strategy
	topic(name, 6, nil)
	more := settings{"partition.assignment.strategy": strategy, "session.timeout.ms": 10000, "heartbeat.interval.ms": 500}
	one, two := consumer(name, more), consumer(name, more)
	must(one.Subscribe(name, nil))
	must(two.Subscribe(name, nil))
	deadline := time.Now().Add(60 * time.Second)
	for {
		one.Poll(50)
		two.Poll(50)
		first, err := one.Assignment()
		must(err)
		second, err := two.Assignment()
		must(err)
		if len(first) == 3 && len(second) == 3 {
			break
		}
		if time.Now().After(deadline) {
			fail("%d and %d partitions after 40 s", len(first), len(second))
		}
	}
	send(name, 0, 600, 6, nil)
	expect(consume(600, one, two), 0, 600)
	for _, member := range []*kafka.Consumer{one, two} {
		_, err := member.Commit()
		must(err)
	}
	must(two.Close())
	for {
		one.Poll(50)
		first, err := one.Assignment()
		must(err)
		if len(first) == 6 {
			break
		}
		if time.Now().After(deadline) {
			fail("%d partitions after the other left", len(first))
		}
	}
	send(name, 600, 100, 6, nil)
	expect(consume(100, one), 600, 700)
	must(one.Close())
}

func timesAndWatermarks() {
	name := "go-times"
	topic(name, 1, nil)
	send(name, 0, 50, 1, nil)
	one := consumer(name, nil)
	defer one.Close()
	low, high, err := one.QueryWatermarkOffsets(name, 0, 20000)
	must(err)
	if low != 0 || high != 50 {
		fail("%d to %d", low, high)
	}
	found, err := one.OffsetsForTimes([]kafka.TopicPartition{{Topic: &name, Partition: 0, Offset: kafka.Offset(time.Now().Add(-time.Hour).UnixMilli())}}, 20000)
	must(err)
	if found[0].Offset != 0 {
		fail("%v", found)
	}
	must(one.Assign([]kafka.TopicPartition{{Topic: &name, Partition: 0, Offset: 45}}))
	expect(consume(5, one), 45, 50)
	must(one.Seek(kafka.TopicPartition{Topic: &name, Partition: 0, Offset: 10}, 10000))
	expect(consume(40, one), 10, 50)
	_, err = one.CommitOffsets([]kafka.TopicPartition{{Topic: &name, Partition: 0, Offset: 33}})
	must(err)
	committed, err := one.Committed([]kafka.TopicPartition{{Topic: &name, Partition: 0}}, 20000)
	must(err)
	if committed[0].Offset != 33 {
		fail("%v", committed)
	}
}

func administration() {
	topic("go-admin", 2, map[string]string{"retention.ms": "70000"})
	client := admin()
	defer client.Close()
	background := context.Background()
	again, err := client.CreateTopics(background, []kafka.TopicSpecification{{Topic: "go-admin", NumPartitions: 1, ReplicationFactor: 1}})
	must(err)
	if again[0].Error.Code() != kafka.ErrTopicAlreadyExists {
		fail("%v", again)
	}
	more, err := client.CreatePartitions(background, []kafka.PartitionsSpecification{{Topic: "go-admin", IncreaseTo: 4}})
	must(err)
	if more[0].Error.Code() != kafka.ErrNoError {
		fail("%v", more)
	}
	resource := kafka.ConfigResource{Type: kafka.ResourceTopic, Name: "go-admin"}
	described, err := client.DescribeConfigs(background, []kafka.ConfigResource{resource})
	must(err)
	if described[0].Config["retention.ms"].Value != "70000" {
		fail("%v", described)
	}
	resource.Config = kafka.StringMapToConfigEntries(map[string]string{"retention.ms": "80000"}, kafka.AlterOperationSet)
	altered, err := client.AlterConfigs(background, []kafka.ConfigResource{resource})
	must(err)
	if altered[0].Error.Code() != kafka.ErrNoError {
		fail("%v", altered)
	}
	deleted, err := client.DeleteTopics(background, []string{"go-admin"})
	must(err)
	if deleted[0].Error.Code() != kafka.ErrNoError {
		fail("%v", deleted)
	}
}

func transactions() {
	topic("go-transactions", 1, nil)
	producer, err := kafka.NewProducer(config(settings{"transactional.id": "go-transactions"}))
	must(err)
	defer producer.Close()
	limited, end := context.WithTimeout(context.Background(), 20*time.Second)
	defer end()
	must(producer.InitTransactions(limited))
	must(producer.BeginTransaction())
	must(producer.CommitTransaction(limited))
}

func run(test func()) (err error) {
	defer func() {
		if caught := recover(); caught != nil {
			err = fmt.Errorf("%v", caught)
		}
	}()
	test()
	return nil
}

func main() {
	bootstrap = os.Args[1]
	_, version := kafka.LibraryVersion()
	fmt.Println("librdkafka", version)
	tests := []struct {
		name string
		run  func()
	}{
		{"metadata", metadata}, {"codecs", codecs}, {"headers_nulls_and_times", headersNullsAndTimes}, {"idempotence", idempotence},
		{"large_records", largeRecords}, {"range", func() { share("range") }}, {"roundrobin", func() { share("roundrobin") }},
		{"cooperative-sticky", func() { share("cooperative-sticky") }}, {"times_and_watermarks", timesAndWatermarks},
		{"administration", administration}, {"transactions", transactions},
	}
	without := strings.Split(os.Getenv("WITHOUT"), "\n")
	for _, test := range tests {
		if slices.Contains(without, test.name) || len(os.Args) > 2 && os.Args[2] != test.name {
			continue
		}
		began := time.Now()
		if err := run(test.run); err != nil {
			fmt.Printf("FAIL %.1f %s\n%v\n", time.Since(began).Seconds(), test.name, err)
		} else {
			fmt.Printf("PASS %.1f %s\n", time.Since(began).Seconds(), test.name)
		}
	}
	os.Exit(0)
}
