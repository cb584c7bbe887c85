// Debezium's own engines, several in one program: reads their settings from the file that is named, where each key has
// the engine's number and a dot before it; prints topic, key and value of every record, one a line, parted by tabs.

import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.FileInputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;

public class Engines {
    public static void main(String[] arguments) throws Exception {
        Properties all = new Properties();
        try (FileInputStream file = new FileInputStream(arguments[0])) {
            all.load(file);
        }
        Map<String, Properties> engines = new TreeMap<>();
        for (String key : all.stringPropertyNames()) {
            int dot = key.indexOf('.');
            engines.computeIfAbsent(key.substring(0, dot), number -> new Properties())
                .setProperty(key.substring(dot + 1), all.getProperty(key));
        }
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (Properties settings : engines.values()) {
            DebeziumEngine<?> engine = DebeziumEngine.create(Json.class)
                .using(settings)
                .notifying(record -> out.println(record.destination() + "\t" + record.key() + "\t" + record.value()))
                .using((success, message, error) -> {
                    System.err.println("ended: " + message);
                    if (error != null) {
                        error.printStackTrace();
                    }
                    System.exit(1);
                })
                .build();
            new Thread(engine).start();
        }
    }
}
