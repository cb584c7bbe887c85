// Debezium's own engine: reads its settings from the file that is named, prints topic, key, value and stored offset
// of every record, one a line, parted by tabs. SIGTERM stops it in order.

import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.FileInputStream;
import java.io.PrintStream;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.kafka.connect.source.SourceRecord;

public class Engine {
    private static volatile boolean stopping;

    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        try (FileInputStream file = new FileInputStream(arguments[0])) {
            settings.load(file);
        }
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        DebeziumEngine<ChangeEvent<String, String>> engine = DebeziumEngine.create(Json.class)
            .using(settings)
            .notifying(record -> out.println(
                record.destination() + "\t" + record.key() + "\t" + record.value() + "\t" + offset(record)))
            .using((success, message, error) -> {
                System.err.println("ended: " + message);
                if (error != null) {
                    error.printStackTrace();
                }
                if (!stopping) {
                    System.exit(1);
                }
            })
            .build();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopping = true;
            try {
                engine.close();
            } catch (Exception error) {
                error.printStackTrace();
            }
            out.flush();
        }));
        engine.run();
    }

    private static String offset(ChangeEvent<String, String> event) {
        try {
            Method method = event.getClass().getDeclaredMethod("sourceRecord");
            method.setAccessible(true);
            Map<String, ?> offset = ((SourceRecord) method.invoke(event)).sourceOffset();
            return offset.entrySet().stream()
                .map(entry -> "\"" + entry.getKey() + "\":" + (entry.getValue() instanceof String text
                    ? "\"" + text + "\"" : String.valueOf(entry.getValue())))
                .collect(Collectors.joining(",", "{", "}"));
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error);
        }
    }
}
