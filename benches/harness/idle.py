"""A node that has nothing to do."""

import time

from harness.load import create_topic, load, settle
from harness.registry import bench, say
from harness.report import at_most
from harness.servers import Kafka, Strandline


@bench("idle", "start, memory, CPU and requests to the store while nothing happens")
def idle(quick: bool) -> dict:
    seconds = 30 if quick else 120
    rows = []
    settle()

    def look(what: str, server) -> None:
        requests = sum(server.metrics("strandline_store_requests_total").values()) if isinstance(server, Strandline) else None
        before = server.cpu_s()
        time.sleep(seconds)
        cores, rss = (server.cpu_s() - before) / seconds, server.memory_mib()
        asked = "" if requests is None else sum(server.metrics("strandline_store_requests_total").values()) - requests
        say(f"  {what}: serves after {server.serving_after_s * 1e3:.0f} ms, {rss:.0f} MiB, {cores:.4f} cores, store requests {asked}")
        ours = isinstance(server, Strandline)
        rows.append([what, at_most(server.serving_after_s * 1e3, 200, 0) if ours else f"{server.serving_after_s * 1e3:.0f}",
                     at_most(rss, 40, 0) if ours else f"{rss:.0f}", f"{cores:.4f}", at_most(asked, 0, 0) if ours else asked])

    with Strandline() as node:
        look("Strandline, a new folder", node)
        create_topic(node, "events", 48)
        load("open-loop", node, topic="events", phases="10000:20", record_bytes=0, headers=True, codec="lz4")
        node.wait_converted()
        time.sleep(20)
        look("Strandline, after 200,000 events", node)
        node.stop()
        node.start()
        look("Strandline, started again", node)
        node.process.kill()
        node.process.wait()
        node.start()
        look("Strandline, started after a kill", node)
    with Kafka() as kafka:
        look("Kafka, a new folder", kafka)
    return {"tables": [{"title": f"Nothing happens for {seconds} s",
                        "columns": ["server", "serves after ms (aim 200)", "RSS MiB (aim 40)", "cores", "requests to the store (aim 0)"], "rows": rows}]}
