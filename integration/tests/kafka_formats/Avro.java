// Debezium's own engine with its records in Avro: reads its settings from the file that is named, where each key has a
// number and a dot before it; prints topic, key and value of every record, one a line, parted by tabs; key and value are
// the schema's text, a bar, and the bytes in base64.

import io.apicurio.registry.utils.converter.avro.AvroData;
import io.debezium.embedded.Connect;
import io.debezium.engine.DebeziumEngine;
import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Properties;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.connect.data.Schema;

public class Avro {
    static final AvroData DATA = new AvroData(1000);

    static String written(Schema connect, Object value) {
        if (value == null) {
            return "null";
        }
        try {
            org.apache.avro.Schema schema = DATA.fromConnectSchema(connect);
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(bytes, null);
            new GenericDatumWriter<Object>(schema).write(DATA.fromConnectData(connect, value), encoder);
            encoder.flush();
            return schema + "|" + Base64.getEncoder().encodeToString(bytes.toByteArray());
        } catch (Exception error) {
            error.printStackTrace();
            throw new RuntimeException(error);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Properties numbered = new Properties();
        try (FileInputStream file = new FileInputStream(arguments[0])) {
            numbered.load(file);
        }
        Properties settings = new Properties();
        numbered.forEach((key, value) -> settings.put(key.toString().replaceFirst("^\\d+\\.", ""), value));
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        DebeziumEngine.create(Connect.class)
            .using(settings)
            .notifying(event -> {
                var record = event.value();
                out.println(record.topic() + "\t" + written(record.keySchema(), record.key()) + "\t"
                    + written(record.valueSchema(), record.value()));
            })
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
