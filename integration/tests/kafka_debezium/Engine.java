// Debezium's own engine: reads its settings from the file that is named, prints topic, key and value of every
// record, one a line, parted by tabs.

import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.FileInputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Properties;

public class Engine {
    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        try (FileInputStream file = new FileInputStream(arguments[0])) {
            settings.load(file);
        }
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        DebeziumEngine.create(Json.class)
            .using(settings)
            .notifying(record -> out.println(record.destination() + "\t" + record.key() + "\t" + record.value()))
            .using((success, message, error) -> {
                System.err.println("ended: " + message);
                if (error != null) {
                    error.printStackTrace();
                }
                System.exit(1);
            })
            .build()
            .run();
    }
}
