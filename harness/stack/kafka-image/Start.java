import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * The image's one program. It is configured as the public Kafka images are: a variable
 * KAFKA_LOG_DIRS becomes the property log.dirs, and CLUSTER_ID names the cluster. The storage is
 * formatted unless it is already, and the broker runs in the same virtual machine.
 */
public final class Start {
    private static final Path PROPERTIES = Path.of("/tmp/server.properties");

    private Start() {}

    public static void main(String[] args) throws IOException {
        Files.write(PROPERTIES, properties(System.getenv()));
        String[] format = {
            "format", "--ignore-formatted",
            "--cluster-id", System.getenv("CLUSTER_ID"),
            "--config", PROPERTIES.toString(),
        };
        int status = kafka.tools.StorageTool.execute(format, System.out);
        if (status != 0) {
            System.exit(status);
        }
        kafka.Kafka.main(new String[] {PROPERTIES.toString()});
    }

    /** In a variable's name "_" stands for ".", "__" for "_" and "___" for "-". */
    private static List<String> properties(Map<String, String> environment) {
        List<String> lines = new ArrayList<>();
        environment.forEach((name, value) -> {
            if (name.startsWith("KAFKA_") && !name.endsWith("_OPTS")) {
                String key = name.substring("KAFKA_".length()).toLowerCase(Locale.ROOT)
                    .replace("___", "-").replace("__", "\0").replace("_", ".").replace("\0", "_");
                lines.add(key + "=" + value);
            }
        });
        return lines;
    }
}
