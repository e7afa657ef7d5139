package strandline;

import java.time.Duration;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Counts words. Every input record has a number; the state of a word is the set of numbers seen, so that its size is right even if
 * records are processed twice, as at-least-once may, and wrong as soon as one is lost or the state is not restored whole.
 */
public final class WordCounts {
    static final String INPUT = "words";
    static final String OUTPUT = "word-counts";
    static final String WINDOWS = "word-windows";
    static final int DISTINCT = 50;

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[1];
        switch (arguments[0]) {
            case "run" -> run(bootstrap, arguments[2], arguments[3], arguments.length > 4 ? arguments[4] : StreamsConfig.AT_LEAST_ONCE);
            case "fill" -> fill(bootstrap, Integer.parseInt(arguments[2]), Integer.parseInt(arguments[3]));
            case "read" -> read(bootstrap);
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    static Topology topology() {
        StreamsBuilder builder = new StreamsBuilder();
        var words = builder.stream(INPUT, Consumed.with(Serdes.String(), Serdes.String()))
            // "number word" becomes word -> number: another key, hence a repartition topic.
            .map((key, value) -> KeyValue.pair(value.split(" ")[1], value.split(" ")[0]))
            .groupByKey(Grouped.<String, String>as("by-word").withKeySerde(Serdes.String()).withValueSerde(Serdes.String()));
        KTable<String, byte[]> seen = words.aggregate(
            () -> new byte[0],
            (word, number, state) -> {
                BitSet set = BitSet.valueOf(state);
                set.set(Integer.parseInt(number));
                return set.toByteArray();
            },
            Materialized.<String, byte[], KeyValueStore<Bytes, byte[]>>as("seen").withKeySerde(Serdes.String()).withValueSerde(Serdes.ByteArray()));
        seen.toStream().mapValues(state -> Integer.toString(BitSet.valueOf(state).cardinality()))
            .to(OUTPUT, Produced.with(Serdes.String(), Serdes.String()));
        words.windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMinutes(1), Duration.ofMinutes(1)))
            .count(Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("windows").withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()))
            .toStream().map((window, count) -> KeyValue.pair(window.key() + "@" + window.window().start(), count.toString()))
            .to(WINDOWS, Produced.with(Serdes.String(), Serdes.String()));
        return builder.build();
    }

    static void run(String bootstrap, String application, String state, String guarantee) {
        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        config.put(StreamsConfig.STATE_DIR_CONFIG, state);
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee);
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        config.put(StreamsConfig.NUM_STANDBY_REPLICAS_CONFIG, 1);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 500);
        config.put(StreamsConfig.REPARTITION_PURGE_INTERVAL_MS_CONFIG, 1_000);
        config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64 * 1024);
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 10_000);
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG), 2_000);
        KafkaStreams streams = new KafkaStreams(topology(), config);
        streams.setStateListener((now, before) -> System.out.println("state " + now));
        streams.setUncaughtExceptionHandler(error -> {
            System.out.println("error " + error);
            return StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
        streams.start();
    }

    /** Writes records `from` to `to`, and fails unless every one is acknowledged. */
    static void fill(String bootstrap, int from, int to) throws Exception {
        Properties config = new Properties();
        config.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        config.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        config.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        config.put(ProducerConfig.LINGER_MS_CONFIG, 5);
        int[] refused = new int[1];
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(config)) {
            for (int number = from; number < to; number++) {
                producer.send(new ProducerRecord<>(INPUT, "user" + number % 17, number + " word" + number % DISTINCT), (metadata, error) -> {
                    if (error != null) {
                        refused[0]++;
                    }
                });
                if (number % 100 == 0) {
                    Thread.sleep(10);
                }
            }
        }
        System.out.println("refused " + refused[0]);
        System.exit(refused[0] == 0 ? 0 : 1);
    }

    /** Prints the last count of each word, and the sum of the last counts of all windows. */
    static void read(String bootstrap) {
        Map<String, String> counts = last(bootstrap, OUTPUT);
        Map<String, String> windows = last(bootstrap, WINDOWS);
        counts.forEach((word, count) -> System.out.println("count " + word + " " + count));
        System.out.println("windows " + windows.values().stream().mapToLong(Long::parseLong).sum());
    }

    static Map<String, String> last(String bootstrap, String topic) {
        Properties config = new Properties();
        config.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        config.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
        config.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
        config.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        Map<String, String> found = new TreeMap<>();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(config)) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long deadline = System.currentTimeMillis() + 30_000;
            while (partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                if (System.currentTimeMillis() > deadline) {
                    throw new IllegalStateException("not read to the end of " + topic + " within 30 s");
                }
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    found.put(record.key(), record.value());
                }
            }
        }
        return found;
    }
}
