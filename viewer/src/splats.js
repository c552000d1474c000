// Gaussian splats, drawn as faithfully as the project's own renderer does.
//
// Faint Gaussians vanish where a viewer blends into 8 bits, so the splats are blended into a target
// of half floats, in sRGB values as they were trained, and copied to the screen once.

import { SparkRenderer, SplatMesh } from "@sparkjsdev/spark";

const LEAST_ALPHA = 1 / 255;
// A line of Spark's vertex shader, and the same with quads that end where alpha falls under the
// least one: a quarter of the pixels for faint Gaussians.
const QUAD = "vSplatUv = position.xy * adjustedStdDev;";
const CUT_QUAD = `if (rgba.a < leastOpacity) { gl_Position = vec4(0.0, 0.0, 2.0, 1.0); return; }
  adjustedStdDev = min(adjustedStdDev,
  sqrt(max(0.0, 2.0 * log(rgba.a / minAlpha)))); ${QUAD}`;

/** Returns Spark's renderer with the settings of the training's renderer. */
export function makeSpark(renderer, onDirty) {
  const spark = new SparkRenderer({
    renderer,
    preBlurAmount: 0.3,
    blurAmount: 0,
    sortRadial: false,
    minAlpha: LEAST_ALPHA,
    maxStdDev: 3.33,
    accumExtSplats: true,
    onDirty,
  });
  const shader = spark.material.vertexShader;
  if (!shader.includes(QUAD)) throw new Error("Spark's vertex shader is not that of version 2.2.0");
  const declared = shader.replace("void main()", "uniform float leastOpacity;\nvoid main()");
  spark.material.vertexShader = declared.replace(QUAD, CUT_QUAD);
  spark.material.uniforms.leastOpacity = { value: 0 };
  const before = spark.onBeforeRender.bind(spark);
  spark.onBeforeRender = (...parts) => {
    before(...parts);
    // Into a target Spark would blend in linear light.
    spark.uniforms.encodeLinear.value = false;
  };
  return spark;
}

/** Returns the mesh of one moment from the bytes of a file. */
export async function loadSplats(bytes, type) {
  const mesh = new SplatMesh({ fileBytes: bytes, fileType: type, extSplats: true, lod: false });
  await mesh.initialized;
  return mesh;
}
