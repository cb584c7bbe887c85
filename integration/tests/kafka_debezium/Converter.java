// Kafka Connect's own JsonConverter: reads lines of topic and JSON, parted by a tab, as records, and prints each as
// it would write it.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.json.JsonConverter;

public class Converter {
    public static void main(String[] arguments) throws Exception {
        JsonConverter converter = new JsonConverter();
        converter.configure(Map.of("schemas.enable", arguments[0]), false);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            int tab = line.indexOf('\t');
            String topic = line.substring(0, tab);
            byte[] text = line.substring(tab + 1).getBytes(StandardCharsets.UTF_8);
            SchemaAndValue read = converter.toConnectData(topic, text);
            byte[] again = converter.fromConnectData(topic, read.schema(), read.value());
            out.println(new String(again, StandardCharsets.UTF_8));
        }
        out.flush();
    }
}
