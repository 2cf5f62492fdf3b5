package io.github.loomtorch.examples.spark;

import static org.apache.spark.sql.functions.col;
import static org.apache.spark.sql.functions.collect_list;
import static org.apache.spark.sql.functions.concat_ws;
import static org.apache.spark.sql.functions.sha2;

import java.io.IOException;
import org.apache.spark.sql.SparkSession;

/** Prints the SHA-256 of all texts that a job wrote, in the order of their ids: equal if two runs wrote the same. */
public final class TextHash {
    private TextHash() {}

    /** {@code args}: the folder. */
    public static void main(String[] args) throws IOException {
        try (SparkSession spark = SparkSession.builder().getOrCreate()) {
            System.out.println(spark.read()
                    .parquet(args[0])
                    .orderBy("id")
                    .agg(sha2(concat_ws("|", collect_list(col("text"))), 256))
                    .first()
                    .getString(0));
        }
    }
}
