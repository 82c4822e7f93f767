#version 120
uniform sampler2D u_letters; // signed distances, 0.5 on the outline
uniform vec2 u_letters_size;
varying vec2 v_texel;
varying vec4 v_colour;

const float TEXEL = 127.0 / 255.0 / 7.0;            // change of the distance over a texel

void main() {
    vec2 across = dFdx(v_texel), down = dFdy(v_texel);
    float shrink = max(length(across), length(down));   // texels for a pixel
    // a small letter's pixel holds many texels: the mean coverage of sixteen places in it, or strokes would vanish
    float width = max(0.125 * TEXEL * shrink, 0.003);
    float cover = 0.0;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            vec2 at = v_texel + (float(i) - 1.5) * 0.25 * across + (float(j) - 1.5) * 0.25 * down;
            float d = texture2D(u_letters, at / u_letters_size).r;
            cover += smoothstep(0.5 - width, 0.5 + width, d);
        }
    cover /= 16.0;
    if (cover * v_colour.a < 0.01) discard;
    gl_FragColor = vec4(v_colour.rgb, v_colour.a * cover);
}
