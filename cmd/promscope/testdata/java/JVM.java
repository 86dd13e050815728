import com.sun.management.UnixOperatingSystemMXBean;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

/**
 * A program that tells of its JVM what Prometheus's client library for Java does: java JVM.java
 * PORT NAMES, where NAMES is client_java (1.x) or simpleclient (before).
 *
 * <p>The library itself is not used, since no registry that the tests can install from has it. The
 * names, types and labels are the library's; the values are this JVM's own, from the MXBeans that
 * the library asks.
 */
public class JVM {
  /** So that the heap has a size to recognize. */
  static byte[] ballast = new byte[24 << 20];

  final StringBuilder text = new StringBuilder();

  public static void main(String[] args) throws Exception {
    boolean old = args[1].equals("simpleclient");
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 0);
    server.createContext("/metrics", exchange -> {
      byte[] body = new JVM().tell(old).getBytes(StandardCharsets.UTF_8);
      exchange.getResponseHeaders().set("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
      exchange.sendResponseHeaders(200, body.length);
      exchange.getResponseBody().write(body);
      exchange.close();
    });
    server.start();
    while (true) {
      System.gc();
      Thread.sleep(250);
    }
  }

  String tell(boolean old) throws IOException {
    var memory = ManagementFactory.getMemoryMXBean();
    var areas = Map.of("heap", memory.getHeapMemoryUsage(), "nonheap", memory.getNonHeapMemoryUsage());
    family(old ? "jvm_memory_bytes_used" : "jvm_memory_used_bytes", "gauge");
    areas.forEach((area, usage) -> sample(old, "", "area", area, usage.getUsed()));
    family(old ? "jvm_memory_bytes_max" : "jvm_memory_max_bytes", "gauge");
    areas.forEach((area, usage) -> sample(old, "", "area", area, usage.getMax()));
    family(old ? "jvm_memory_pool_bytes_used" : "jvm_memory_pool_used_bytes", "gauge");
    for (var pool : ManagementFactory.getMemoryPoolMXBeans()) {
      sample(old, "", "pool", pool.getName(), pool.getUsage().getUsed());
    }
    family("jvm_gc_collection_seconds", "summary");
    for (var gc : ManagementFactory.getGarbageCollectorMXBeans()) {
      sample(old, "_count", "gc", gc.getName(), gc.getCollectionCount());
      sample(old, "_sum", "gc", gc.getName(), gc.getCollectionTime() / 1e3);
    }
    var threads = ManagementFactory.getThreadMXBean();
    single("jvm_threads_current", "gauge", threads.getThreadCount());
    single("jvm_threads_daemon", "gauge", threads.getDaemonThreadCount());
    single("jvm_threads_started_total", "counter", threads.getTotalStartedThreadCount());
    var process = (UnixOperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    single("process_cpu_seconds_total", "counter", process.getProcessCpuTime() / 1e9);
    single("process_open_fds", "gauge", process.getOpenFileDescriptorCount());
    single("process_max_fds", "gauge", process.getMaxFileDescriptorCount());
    for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
      if (line.startsWith("VmSize:")) {
        single("process_virtual_memory_bytes", "gauge", Double.parseDouble(line.split("\\s+")[1]) * 1024);
      }
    }
    return text.toString();
  }

  String family;

  void family(String name, String type) {
    family = name;
    text.append("# TYPE ").append(name).append(' ').append(type).append('\n');
  }

  /** The libraries write a label differently: the older one ends the list with a comma. */
  void sample(boolean old, String suffix, String label, String value, double number) {
    text.append(family).append(suffix).append('{').append(label).append("=\"").append(value)
        .append(old ? "\",} " : "\"} ").append(number).append('\n');
  }

  void single(String name, String type, double number) {
    family(name, type);
    text.append(name).append(' ').append(number).append('\n');
  }
}
