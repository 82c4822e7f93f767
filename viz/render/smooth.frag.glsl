#version 120
uniform sampler2D u_picture; // twice as large in each direction
uniform vec2 u_texel;        // size of one of its texels
varying vec2 v_place;

// codes of colours, in which light is not even, to light and back
vec3 light(vec3 code) { return code * code; }

void main() {
    // the four texels under the pixel, as light
    vec3 sum = vec3(0.0);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            sum += light(texture2D(u_picture, v_place + (vec2(float(i), float(j)) - 0.5) * u_texel).rgb);
    gl_FragColor = vec4(sqrt(0.25 * sum), 1.0);
}
