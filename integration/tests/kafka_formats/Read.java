// Avro's own reader: reads lines of a schema's text, a bar, and bytes in base64; prints each value as JSON, one a line.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;

public class Read {
    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        HashMap<String, Schema> schemas = new HashMap<>();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            int bar = line.lastIndexOf('|');
            String text = line.substring(0, bar);
            if (!schemas.containsKey(text)) {
                schemas.put(text, new Schema.Parser().parse(text));
            }
            BinaryDecoder bytes = DecoderFactory.get().binaryDecoder(Base64.getDecoder().decode(line.substring(bar + 1)), null);
            Object value = new GenericDatumReader<Object>(schemas.get(text)).read(null, bytes);
            if (!bytes.isEnd()) {
                throw new IllegalStateException("bytes are left behind a value of " + text);
            }
            out.println(value);
        }
        out.flush();
    }
}
